"""Conversations and image files to ArrayRecord shards, once.

  python -m visor_jax.data.prepare --src train.json --images IMAGES --out SHARDS
  python -m visor_jax.data.prepare --out SHARDS --check

--src is LLaVA's .json or .jsonl, a .yaml mixture, or a folder or pattern of
.parquet or .array_record files. Bad records are left out and counted. A run
that is killed is started again with the same words: shards that are finished
stay. The bytes written depend on the data and --shard-size alone.
"""

import argparse
import concurrent.futures
import datetime
import fcntl
import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import sys
import threading
import time

from array_record.python import array_record_module
import numpy as np

from visor_jax.data import images
from visor_jax.data import records
from visor_jax.data import sources

FORMAT = 1  # of encoded records, shards.json and where shards are cut
SAMPLE = 256  # records looked at before all others
NAMED = 10  # ids kept for each reason
PATIENCE = 10  # seconds between lines of progress

_source = None  # a worker's: sent once, not with every shard


class TooManyBad(ValueError):
  """More records are bad than --max-bad allows."""


def prepare(source, out, shard_mb: float, workers: int = 1,
            max_bad: float = 0.01) -> dict:
  """Writes the shards that are not there yet, then shards.json.

  A shard is a range of the source's records, as many as would fill `shard_mb`
  if all were like a sample. So workers share nothing, any number of them makes
  the same files, and what a killed run has left is either whole or redone:
  shards.journal has a line for every shard that is whole.

  Args:
    source: see `sources`.
    out: folder.
    shard_mb: aimed at, in 1e6 bytes.
    workers: processes.
    max_bad: share of the source's records.

  Returns:
    What shards.json says: format, fingerprint of the source, shard_mb,
    source_records, records, bad as {reason: {count, first ids}}, and shards
    with name, records, bytes and sha256.

  Raises:
    TooManyBad: with counts and first ids; finished shards stay.
    ValueError: `out` has shards of something else, or is being written.
    OSError: a file cannot be read.
    RuntimeError: a shard cannot be written, or a worker was killed.
  """
  out = pathlib.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  index = out / sources.INDEX
  job = dict(format=FORMAT, fingerprint=source.fingerprint, shard_mb=shard_mb,
             source_records=len(source))
  path = index.with_suffix('.journal')
  with open(path, 'a+', encoding='utf-8') as journal:
    try:
      fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise ValueError(f'{out}: another prepare is writing here') from None
    for part in out.glob('shard*.part'):
      part.unlink()
    if index.exists():
      found = json.loads(index.read_text('utf-8'))
      _same(out, job, found)
    else:
      plan, done = _resume(journal, out, job)
      if plan is None:
        plan = job | dict(each=_records_per_shard(source, shard_mb))
        _note(journal, plan)
      found = job | _write_all(source, out, plan, done, journal, workers,
                               max_bad)
      _replace(index, json.dumps(found, indent=1, sort_keys=True) + '\n')
    path.unlink(missing_ok=True)
  return found


def _same(out, job, found):
  """What is in a folder is of this job."""
  for key, value in job.items():
    if found.get(key) != value:
      raise ValueError(f'{out} has shards with {key} {found.get(key)}; this '
                       f'would be {value}: give another --out')


def _resume(journal, out, job):
  """(plan, {shard's number: facts}) of the run before; (None, {}) of none."""
  journal.seek(0)
  # A last line without end was cut off.
  lines = journal.read().rpartition('\n')[0]
  journal.truncate(len((lines + '\n').encode()) if lines else 0)
  plan, *done = map(json.loads, lines.splitlines()) if lines else [None]
  if plan:
    _same(out, job, plan)
  there = {p.name: p.stat().st_size for p in out.glob('shard*.array_record')}
  # A file may have gone since.
  return plan, {facts['number']: facts for facts in done
                if there.get(facts['name']) == facts['bytes']}


def _note(journal, line):
  """Adds a line that outlives the machine."""
  journal.write(json.dumps(line) + '\n')
  journal.flush()
  os.fsync(journal.fileno())


def _replace(path, text):
  """Writes a file that is seen whole or not at all."""
  part = path.with_name(path.name + '.part')
  with open(part, 'w', encoding='utf-8') as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
  os.replace(part, path)


def _records_per_shard(source, shard_mb):
  """From a sample all over the source, whose bad records are told at once."""
  sizes, bad = [], {}
  sample = np.unique(np.linspace(0, len(source) - 1, SAMPLE).astype(int))
  for i in sample:
    try:
      sizes.append(len(records.encode(source[i])))
    except records.BadRecord as e:
      _count(bad, e.reason, 1, [e.id])
  if bad:
    _say(f'of a sample of {len(sample)} records {_told(bad)}')
  if not sizes:
    raise TooManyBad(f'of {len(sample)} records all over the source not one is '
                     f'good: {_told(bad)}')
  return max(1, int(shard_mb * 1e6 / np.mean(sizes)))


def _write_all(source, out, plan, done, journal, workers, max_bad):
  """Shards, then what shards.json says of them."""
  total, each = len(source), plan['each']
  count = -(-total // each)
  jobs = [(out, number, count, number * each, min(total, (number + 1) * each))
          for number in range(count) if number not in done]
  if done:
    _say(f'{len(done)} of {count} shards are there already')
  start = said = time.monotonic()
  before = seen = sum(facts['seen'] for facts in done.values())
  bad = sum(_number(facts['bad']) for facts in done.values())
  for facts in _map(_write, jobs, workers, source):
    _note(journal, facts)
    done[facts['number']] = facts
    seen, bad = seen + facts['seen'], bad + _number(facts['bad'])
    now = time.monotonic()
    if now - said > PATIENCE or seen == total:
      said, pace = now, (seen - before) / (now - start)
      left = datetime.timedelta(seconds=int((total - seen) / pace))
      _say(f'{seen}/{total} records  {pace:.0f}/s  ETA {left}')
    if bad > max_bad * total:
      break
  reasons = {}
  shards = [done[n] for n in sorted(done)]  # not in the order of finishing
  for facts in shards:
    for reason, found in facts['bad'].items():
      _count(reasons, reason, found['count'], found['first'])
  if bad > max_bad * total:
    raise TooManyBad(f'of {seen} records {_told(reasons)}; more than --max-bad '
                     f'{max_bad:g} of all {total}')
  return dict(
      records=sum(s['records'] for s in shards), bad=reasons,
      shards=[{k: s[k] for k in ('name', 'records', 'bytes', 'sha256')}
              for s in shards])


def _write(job, source):
  """Writes one shard; returns its facts."""
  out, number, count, start, stop = job
  path = out / f'shard-{number:05d}-of-{count:05d}.array_record'
  part = path.with_name(path.name + '.part')
  written, bad = 0, {}
  # Images are compressed already, and what a compressor makes of text may be
  # something else in its next version.
  writer = array_record_module.ArrayRecordWriter(
      str(part), 'group_size:1,uncompressed')
  for i in range(start, stop):
    try:
      raw = source[i]
    except records.BadRecord as e:
      _count(bad, e.reason, 1, [e.id])
    else:
      writer.write(records.encode(raw))
      written += 1
  writer.close()
  with open(part, 'rb') as file:
    sha256 = hashlib.file_digest(file, 'sha256').hexdigest()
    length = file.seek(0, 2)
    os.fsync(file.fileno())
  os.replace(part, path)
  return dict(number=number, name=path.name, records=written, bytes=length,
              sha256=sha256, seen=stop - start, bad=bad)


def check(out, workers: int = 1) -> list[str]:
  """What is wrong with shards, [] if nothing is; decodes every image.

  Raises:
    ValueError: shards.json is not JSON.
  """
  out = pathlib.Path(out)
  path = out / sources.INDEX
  if not path.exists():
    return [f'{path}: missing: prepare has not finished']
  index = json.loads(path.read_text('utf-8'))
  if index.get('format') != FORMAT:
    return [f'{sources.INDEX}: format {index.get("format")}, not {FORMAT}']
  names = {shard['name'] for shard in index['shards']}
  wrong = [f'{path.name}: not in {sources.INDEX}'
           for path in sorted(out.glob('*.array_record'))
           if path.name not in names]
  jobs = [(out, shard) for shard in index['shards']]
  for found in _map(_check, jobs, workers, None):
    wrong += found
  if sum(s['records'] for s in index['shards']) != index['records']:
    wrong.append(f'{sources.INDEX}: shards do not add up to its records')
  return sorted(wrong)


def _check(job, _):
  """What is wrong with one shard."""
  (out, shard), wrong = job, []
  name = shard['name']
  try:
    with open(out / name, 'rb') as file:
      found = hashlib.file_digest(file, 'sha256').hexdigest()
  except FileNotFoundError:
    return [f'{name}: missing']
  if found != shard['sha256']:
    return [f'{name}: its bytes are not those that were written']
  reader = array_record_module.ArrayRecordReader(str(out / name))
  if reader.num_records() != shard['records']:
    wrong.append(f'{name}: {reader.num_records()} records, not '
                 f'{shard["records"]}')
  for number in range(reader.num_records()):
    try:
      raw = records.decode(reader.read())
      records.check(raw)
    except records.BadRecord as e:
      wrong.append(f'{name}: record {number}: {e}')
      continue
    for size, file in zip(raw.sizes, raw.images):
      try:
        image = images.open_image(file)
        if size != (image.height, image.width):
          raise ValueError(f'is {image.height} x {image.width}, not {size}')
      except ValueError as e:
        wrong.append(f'{name}: record {number}: {raw.id}: broken image: {e}')
  reader.close()
  return wrong


def _map(act, jobs, workers, source):
  """Results of act(job, source) as they come."""
  if workers <= 1 or len(jobs) <= 1:
    yield from (act(job, source) for job in jobs)
    return
  pool = concurrent.futures.ProcessPoolExecutor(
      min(workers, len(jobs)), multiprocessing.get_context('spawn'), _begin,
      (source,))
  try:
    for done in concurrent.futures.as_completed(
        [pool.submit(_act, act, job) for job in jobs]):
      yield done.result()
  finally:
    pool.shutdown(cancel_futures=True)


def _begin(source):
  """In a worker: takes the source, and dies with its parent.

  A worker that outlives a killed parent would wait for work for ever, or write
  where the next run does.
  """
  global _source
  _source = source

  def watch():
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


def _act(act, job):
  return act(job, _source)


def _count(bad, reason, count, ids):
  """Adds to {reason: {count, first: ids}}."""
  facts = bad.setdefault(reason, dict(count=0, first=[]))
  facts['count'] += count
  facts['first'] = (facts['first'] + ids)[:NAMED]


def _number(bad):
  return sum(facts['count'] for facts in bad.values())


def _told(bad):
  """'3 are bad: 2 missing image (a, b), 1 no turns (c)'."""
  return f'{_number(bad)} are bad: ' + ', '.join(
      f'{facts["count"]} {reason} ({", ".join(facts["first"])}'
      f'{", ..." * (facts["count"] > len(facts["first"]))})'
      for reason, facts in sorted(bad.items()))


def _say(text):
  print(f'[{time.strftime("%H:%M:%S")}] prepare: {text}', flush=True)


def main(argv=None) -> int:
  """Prepares or checks; returns the exit code."""
  parser = argparse.ArgumentParser(
      prog='python -m visor_jax.data.prepare', description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add('--src', help='the data; see above')
  add('--images', help='folder that image paths in it start from')
  add('--out', required=True, help='folder of the shards')
  add('--shard-size', type=float, default=256, metavar='MB',
      help='aimed at; a shard is also what a kill costs each worker; default '
           '%(default)s')
  add('--workers', type=int, default=os.cpu_count(),
      help='processes; default %(default)s, one for each core')
  add('--max-bad', type=float, default=0.01, metavar='SHARE',
      help='of bad records at which to stop; default %(default)s')
  add('--seed', type=int, default=0,
      help="of a mixture's random choices; default %(default)s")
  add('--check', action='store_true',
      help='verify what is in --out instead: every shard has the bytes that '
           'were written, every record is one, every image decodes')
  args = parser.parse_args(argv)
  if not args.check and args.src is None:
    parser.error('--src is missing')
  if args.shard_size <= 0:
    parser.error(f'--shard-size is {args.shard_size}; expected more than 0')
  try:
    if args.check:
      wrong = check(args.out, args.workers)
      for line in wrong:
        print(line, file=sys.stderr)
      _say(f'{args.out}: {len(wrong)} faults' if wrong else
           f'{args.out}: every shard is as it was written')
      return 1 if wrong else 0
    source = sources.open_source(args.src, args.images, args.seed)
    found = prepare(source, args.out, args.shard_size, args.workers,
                    args.max_bad)
  # RuntimeError: ArrayRecord's of a full disk, a pool's of a killed worker.
  except (OSError, ValueError, RuntimeError) as e:
    print('error:', ' '.join(str(e).split()), file=sys.stderr)
    return 1
  _say(f'{found["records"]} records in {len(found["shards"])} shards in '
       f'{args.out}' + (f'; {_told(found["bad"])}' if found['bad'] else ''))
  return 0


if __name__ == '__main__':
  sys.exit(main())

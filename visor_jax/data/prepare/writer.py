"""Writes ArrayRecord shards, each whole or not at all."""

import fcntl
import hashlib
import json
import os
import pathlib
import time

from array_record.python import array_record_module
import numpy as np

from visor_jax.data.prepare import pool
from visor_jax.data.sources import encoding
from visor_jax.data.sources import records
from visor_jax.data.sources import shards as shards_lib
from visor_jax.runtime import console
from visor_jax.runtime import files

SAMPLE = 256  # records looked at before all others
NAMED = 10  # ids kept for each reason
PATIENCE = 10  # seconds between lines of progress


def prepare(
  source, out, shard_mb: float, workers: int = 1, max_bad: float = 0.01
) -> dict:
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
    with name, records, bytes, sha256 and outline, which has name, bytes and
    sha256.

  Raises:
    records.TooManyBad: with counts and first ids; finished shards stay.
    ValueError: `out` has shards of something else, or is being written.
    OSError: a file cannot be read.
    RuntimeError: a shard cannot be written, or a worker was killed.
  """
  out = pathlib.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  index = out / shards_lib.INDEX
  job = dict(
    format=shards_lib.FORMAT,
    fingerprint=source.fingerprint,
    shard_mb=shard_mb,
    source_records=len(source),
  )
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
      found = job | _write_all(
        source, out, plan, done, journal, workers, max_bad
      )
      files.write_atomic(
        index, json.dumps(found, indent=1, sort_keys=True) + '\n'
      )
    path.unlink(missing_ok=True)
  return found


def _same(out, job, found):
  """What is in a folder is of this job."""
  for key, value in job.items():
    if found.get(key) != value:
      raise ValueError(
        f'{out} has shards with {key} {found.get(key)}; this '
        f'would be {value}: give another --out'
      )


def _resume(journal, out, job):
  """(plan, {shard's number: facts}) of the run before; (None, {}) of none."""
  journal.seek(0)
  # A last line without end was cut off.
  lines = journal.read().rpartition('\n')[0]
  journal.truncate(len((lines + '\n').encode()) if lines else 0)
  plan, *done = map(json.loads, lines.splitlines()) if lines else [None]
  if plan:
    _same(out, job, plan)
  there = {p.name: p.stat().st_size for p in out.glob('shard*')}
  # A file may have gone since.
  return plan, {
    facts['number']: facts
    for facts in done
    if all(
      there.get(part['name']) == part['bytes']
      for part in (facts, facts['outline'])
    )
  }


def _note(journal, line):
  """Adds a line that outlives the machine."""
  journal.write(json.dumps(line) + '\n')
  journal.flush()
  os.fsync(journal.fileno())


def _records_per_shard(source, shard_mb):
  """From a sample all over the source, whose bad records are told at once."""
  sizes, bad = [], {}
  sample = np.unique(np.linspace(0, len(source) - 1, SAMPLE).astype(int))
  for i in sample:
    try:
      sizes.append(len(encoding.encode(source[i])))
    except records.BadRecord as e:
      _count(bad, e.reason, 1, [e.id])
  if bad:
    console.log(f'of a sample of {len(sample)} records {told(bad)}')
  if not sizes:
    raise records.TooManyBad(
      f'of {len(sample)} records all over the source '
      f'not one is good: {told(bad)}'
    )
  return max(1, int(shard_mb * 1e6 / np.mean(sizes)))


def _write_all(source, out, plan, done, journal, workers, max_bad):
  """Shards, then what shards.json says of them."""
  total, each = len(source), plan['each']
  count = -(-total // each)
  jobs = [
    (out, number, count, number * each, min(total, (number + 1) * each))
    for number in range(count)
    if number not in done
  ]
  if done:
    console.log(f'{len(done)} of {count} shards are there already')
  seen = sum(facts['seen'] for facts in done.values())
  bad = sum(_number(facts['bad']) for facts in done.values())
  progress, said = console.Progress('records', total), time.monotonic()
  progress.line(seen)
  for facts in pool.results(_write, jobs, workers, source):
    _note(journal, facts)
    done[facts['number']] = facts
    seen, bad = seen + facts['seen'], bad + _number(facts['bad'])
    if time.monotonic() - said > PATIENCE or seen == total:
      said = time.monotonic()
      progress.line(seen)
    if bad > max_bad * total:
      break
  reasons = {}
  shards = [done[n] for n in sorted(done)]  # not in the order of finishing
  for facts in shards:
    for reason, found in facts['bad'].items():
      _count(reasons, reason, found['count'], found['first'])
  if bad > max_bad * total:
    raise records.TooManyBad(
      f'of {seen} records {told(reasons)}; more than --max-bad {max_bad:g} '
      f'of all {total}'
    )
  return dict(
    records=sum(s['records'] for s in shards),
    bad=reasons,
    shards=[
      {k: s[k] for k in ('name', 'records', 'bytes', 'sha256', 'outline')}
      for s in shards
    ],
  )


def _write(job, source):
  """Writes one shard and its outline; returns its facts."""
  out, number, count, start, stop = job
  path = out / f'shard-{number:05d}-of-{count:05d}.array_record'
  beside = path.with_suffix(shards_lib.OUTLINE)
  written, bad = 0, {}
  # Images are compressed already, and what a compressor makes of text may be
  # something else in its next version.
  whole, outline = (
    array_record_module.ArrayRecordWriter(
      str(_part(p)), 'group_size:1,uncompressed'
    )
    for p in (path, beside)
  )
  for i in range(start, stop):
    try:
      raw = source[i]
    except records.BadRecord as e:
      _count(bad, e.reason, 1, [e.id])
    else:
      data = encoding.encode(raw)
      whole.write(data)
      outline.write(encoding.outline(data))
      written += 1
  whole.close()
  outline.close()
  return dict(
    _finish(path),
    number=number,
    records=written,
    seen=stop - start,
    bad=bad,
    outline=_finish(beside),
  )


def _part(path):
  """What a file is called until it is whole."""
  return path.with_name(path.name + '.part')


def _finish(path):
  """Gives a file its name; returns what shards.json says of it."""
  with open(_part(path), 'rb') as file:
    sha256 = hashlib.file_digest(file, 'sha256').hexdigest()
    length = file.seek(0, 2)
    os.fsync(file.fileno())
  os.replace(_part(path), path)
  return dict(name=path.name, bytes=length, sha256=sha256)


def _count(bad, reason, count, ids):
  """Adds to {reason: {count, first: ids}}."""
  facts = bad.setdefault(reason, dict(count=0, first=[]))
  facts['count'] += count
  facts['first'] = (facts['first'] + ids)[:NAMED]


def _number(bad):
  return sum(facts['count'] for facts in bad.values())


def told(bad):
  """'3 are bad: 2 missing image (a, b), 1 no turns (c)'."""
  return f'{_number(bad)} are bad: ' + ', '.join(
    f'{facts["count"]} {reason} ({", ".join(facts["first"])}'
    f'{", ..." * (facts["count"] > len(facts["first"]))})'
    for reason, facts in sorted(bad.items())
  )

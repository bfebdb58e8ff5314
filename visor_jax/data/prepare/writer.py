"""Writes ArrayRecord shards, each complete or not at all."""

import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import time
from typing import Any
from typing import TextIO

from array_record.python import array_record_module
import numpy as np

from visor_jax.data import pool
from visor_jax.data import protocols
from visor_jax.data.pipeline import bad_share
from visor_jax.data.prepare import bad_records
from visor_jax.data.prepare import journal as journal_lib
from visor_jax.data.sources import encoding
from visor_jax.data.sources import records
from visor_jax.data.sources import shards as shards_lib
from visor_jax.runtime import console
from visor_jax.runtime import files

SAMPLE = 256  # records that are read before all others
PATIENCE = 10  # seconds between lines of progress


def prepare(
  source: protocols.Source,
  out: pathlib.Path | str,
  shard_mb: float,
  workers: int = 1,
  max_bad: float = 0.01,
) -> dict[str, Any]:
  """Writes the shards that are not there yet, then shards.json.

  A shard is a range of the source's records, as many as would fill `shard_mb`
  if all were like a sample. So workers share nothing, any number of them makes
  the same files, and what a killed run has left is either complete or redone:
  shards.journal has a line for every shard that is complete.

  Args:
    source: the records.
    out: folder of the shards.
    shard_mb: size of a shard that is aimed at, in 1e6 bytes.
    workers: processes.
    max_bad: share of the source's records that may be bad; more must be no
      accident, see pipeline.bad_share.

  Returns:
    What shards.json says: format, fingerprint of the source, shard_mb,
    source_records, records, bad as {reason: {count, first ids, detail of the
    first}}, and shards with name, records, bytes, sha256 and outline, which has
    name, bytes and sha256.

  Raises:
    records.TooManyBad: with counts and first ids; finished shards stay.
    ValueError: `out` has shards of something else, or is being written.
    OSError: a file cannot be read.
    RuntimeError: a shard cannot be written, or a worker was killed.
  """
  out = pathlib.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  index_path = out / shards_lib.INDEX
  job: journal_lib.Job = dict(
    format=shards_lib.FORMAT,
    fingerprint=source.fingerprint,
    shard_mb=shard_mb,
    source_records=len(source),
  )
  journal_path = index_path.with_suffix('.journal')
  with open(journal_path, 'a+', encoding='utf-8') as journal:
    try:
      fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise ValueError(f'{out}: another prepare is writing here') from None
    for part in out.glob('shard*.part'):
      part.unlink()
    if index_path.exists():
      index = json.loads(index_path.read_text('utf-8'))
      journal_lib.check_same(out, job, index)
    else:
      plan, done = journal_lib.resume(journal, out, job)
      if plan is None:
        plan = job | dict(each=_records_per_shard(source, shard_mb))
        journal_lib.note(journal, plan)
      ranges = _ranges(out, len(source), plan['each'])
      _write_missing(source, ranges, done, journal, workers, max_bad)
      index = job | _summary([done[number] for number in sorted(done)])
      text = json.dumps(index, indent=1, sort_keys=True) + '\n'
      files.write_atomic(index_path, text)
    journal_path.unlink(missing_ok=True)
  return index


def _records_per_shard(source: protocols.Source, shard_mb: float) -> int:
  """From a sample all over the source, whose bad records are told at once."""
  sizes: list[int] = []
  bad: bad_records.Reasons = {}
  sample = np.unique(np.linspace(0, len(source) - 1, SAMPLE).astype(int))
  for i in sample:
    try:
      sizes.append(len(encoding.encode(_record(source, int(i)))))
    except records.BadRecord as e:
      bad_records.add(bad, e)
  if bad:
    console.log(
      f'of a sample of {len(sample)} records {bad_records.describe(bad)}'
    )
  if not sizes:
    raise records.TooManyBad(
      f'of {len(sample)} records all over the source '
      f'not one is good: {bad_records.describe(bad)}'
    )
  return max(1, int(shard_mb * 1e6 / np.mean(sizes)))


@dataclasses.dataclass(frozen=True)
class _Range:
  """The records of one shard.

  Attributes:
    number: number of the shard.
    start: first record.
    stop: one past the last.
    path: file of the shard.
  """

  number: int
  start: int
  stop: int
  path: pathlib.Path


def _ranges(out: pathlib.Path, total: int, each: int) -> list[_Range]:
  """All shards of a source, of so many records each."""
  count = -(-total // each)
  return [
    _Range(
      number,
      number * each,
      min(total, (number + 1) * each),
      out / f'shard-{number:05d}-of-{count:05d}.array_record',
    )
    for number in range(count)
  ]


def _write_missing(
  source: protocols.Source,
  ranges: list[_Range],
  done: dict[int, journal_lib.Shard],
  journal: TextIO,
  workers: int,
  max_bad: float,
) -> None:
  """Writes the shards that are not among those `done`, and adds them there.

  Raises:
    records.TooManyBad: more records are bad than a share of `max_bad` of all.
  """
  if done:
    console.log(f'{len(done)} of {len(ranges)} shards are there already')
  total = len(source)
  seen = sum(shard['seen'] for shard in done.values())
  bad = sum(bad_records.total(shard['bad']) for shard in done.values())
  progress, last_line = console.Progress('records', total), time.monotonic()
  progress.line(seen)
  missing = [one for one in ranges if one.number not in done]
  for shard in pool.results(_write, missing, workers, source):
    journal_lib.note(journal, shard)
    done[shard['number']] = shard
    seen, bad = seen + shard['seen'], bad + bad_records.total(shard['bad'])
    if time.monotonic() - last_line > PATIENCE or seen == total:
      last_line = time.monotonic()
      progress.line(seen)
    if bad_share.exceeds_of_all(bad, total, max_bad):
      break
  if bad_share.exceeds_of_all(bad, total, max_bad):
    reasons = bad_records.merge(done[number]['bad'] for number in sorted(done))
    raise records.TooManyBad(
      f'of {seen} records {bad_records.describe(reasons)}; more than --max-bad '
      f'{max_bad:g} of all {total}'
    )


def _summary(shards: list[journal_lib.Shard]) -> dict[str, Any]:
  """What shards.json says of shards, beside the job."""
  return dict(
    records=sum(shard['records'] for shard in shards),
    bad=bad_records.merge(shard['bad'] for shard in shards),
    shards=[
      journal_lib.ListedShard(
        name=shard['name'],
        records=shard['records'],
        bytes=shard['bytes'],
        sha256=shard['sha256'],
        outline=shard['outline'],
      )
      for shard in shards
    ],
  )


def _write(shard: _Range, source: protocols.Source) -> journal_lib.Shard:
  """Writes one shard and its outline."""
  outline_path = shard.path.with_suffix(shards_lib.OUTLINE)
  bad: bad_records.Reasons = {}
  written = 0
  writer, outline_writer = _open(shard.path), _open(outline_path)
  for i in range(shard.start, shard.stop):
    try:
      record = _record(source, i)
    except records.BadRecord as e:
      bad_records.add(bad, e)
    else:
      data = encoding.encode(record)
      writer.write(data)
      outline_writer.write(encoding.outline(data))
      written += 1
  writer.close()
  outline_writer.close()
  return journal_lib.Shard(
    **_finish(shard.path),
    number=shard.number,
    records=written,
    seen=shard.stop - shard.start,
    bad=bad,
    outline=_finish(outline_path),
  )


def _record(source: protocols.Source, index: int) -> records.Record:
  """A record; what stops the run names it."""
  try:
    return source[index]
  except records.BadRecord:
    raise
  except ValueError as e:
    raise ValueError(f'record {source.name}/{index}: {e}') from e


def _open(path: pathlib.Path) -> array_record_module.ArrayRecordWriter:
  """A writer of a file that has its name when it is complete."""
  # Images are compressed already, and what a compressor makes of text may be
  # something else in its next version.
  return array_record_module.ArrayRecordWriter(
    str(_part(path)), 'group_size:1,uncompressed'
  )


def _part(path: pathlib.Path) -> pathlib.Path:
  """What a file is called until it is complete."""
  return path.with_name(path.name + '.part')


def _finish(path: pathlib.Path) -> journal_lib.File:
  """Gives a file its name; returns what shards.json says of it."""
  with open(_part(path), 'rb') as file:
    sha256 = hashlib.file_digest(file, 'sha256').hexdigest()
    length = file.seek(0, 2)
    os.fsync(file.fileno())
  os.replace(_part(path), path)
  return journal_lib.File(name=path.name, bytes=length, sha256=sha256)

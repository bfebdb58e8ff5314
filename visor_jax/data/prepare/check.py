"""Whether shards are as `prepare` wrote them: its --check."""

import hashlib
import json
import pathlib

from array_record.python import array_record_module

from visor_jax.data import pool
from visor_jax.data.prepare import journal as journal_lib
from visor_jax.data.sources import encoding
from visor_jax.data.sources import image_files
from visor_jax.data.sources import records
from visor_jax.data.sources import shards as shards_lib


def check(out: pathlib.Path | str, workers: int = 1) -> list[str]:
  """What is wrong with shards, [] if nothing is; decodes every image.

  Args:
    out: folder of the shards.
    workers: processes.

  Raises:
    ValueError: shards.json is not JSON.
  """
  out = pathlib.Path(out)
  path = out / shards_lib.INDEX
  if not path.exists():
    return [f'{path}: missing: prepare has not finished']
  index = json.loads(path.read_text('utf-8'))
  if index.get('format') != shards_lib.FORMAT:
    return [
      f'{path.name}: format {index.get("format")}, not {shards_lib.FORMAT}'
    ]
  shards = index['shards']
  faults = _strangers(out, shards)
  for of_shard in pool.results(_shard, shards, workers, out):
    faults += of_shard
  if sum(shard['records'] for shard in shards) != index['records']:
    faults.append(f'{path.name}: shards do not add up to its records')
  return sorted(faults)


def _strangers(
  out: pathlib.Path, shards: list[journal_lib.ListedShard]
) -> list[str]:
  """Files that shards.json does not name, though readers would take them."""
  names = {shard['name'] for shard in shards}
  names |= {shard['outline']['name'] for shard in shards}
  suffixes = ('.array_record', shards_lib.OUTLINE)
  return [
    f'{path.name}: not in {shards_lib.INDEX}'
    for path in sorted(out.iterdir())
    if path.suffix in suffixes and path.name not in names
  ]


def _shard(shard: journal_lib.ListedShard, out: pathlib.Path) -> list[str]:
  """What is wrong with one shard and its outline."""
  files: tuple[journal_lib.File, ...] = (shard, shard['outline'])
  faults = [fault for file in files for fault in _file(out, file)]
  if faults:
    return faults
  readers = [
    array_record_module.ArrayRecordReader(str(out / file['name']))
    for file in files
  ]
  counts = [reader.num_records() for reader in readers]
  expected = shard['records'], counts[0]
  for file, count, want in zip(files, counts, expected):
    if count != want:
      faults.append(f'{file["name"]}: {count} records, not {want}')
  for number in range(min(counts)):
    data, outline = (reader.read() for reader in readers)
    faults += [
      f'{shard["name"]}: record {number}: {fault}' for fault in _record(data)
    ]
    if outline != encoding.outline(data):
      faults.append(
        f'{shard["outline"]["name"]}: record {number}: is not the '
        f"outline of {shard['name']}'s"
      )
  for reader in readers:
    reader.close()
  return faults


def _file(out: pathlib.Path, file: journal_lib.File) -> list[str]:
  """What is wrong with a file as such."""
  try:
    with open(out / file['name'], 'rb') as opened:
      sha256 = hashlib.file_digest(opened, 'sha256').hexdigest()
      length = opened.seek(0, 2)
  except FileNotFoundError:
    return [f'{file["name"]}: missing']
  if (length, sha256) != (file['bytes'], file['sha256']):
    return [f'{file["name"]}: its bytes are not those that were written']
  return []


def _record(data: bytes) -> list[str]:
  """What is wrong with an encoded record."""
  try:
    record = encoding.decode(data)
    records.check(record)
  except records.BadRecord as e:
    return [str(e)]
  faults = []
  for size, file in zip(record.sizes, record.images):
    try:
      image = image_files.open_image(file)
      if size != (image.height, image.width):
        raise ValueError(f'is {image.height} x {image.width}, not {size}')
    except ValueError as e:
      faults.append(f'{record.id}: broken image: {e}')
  return faults

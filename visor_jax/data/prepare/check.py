"""Whether shards are as `prepare` wrote them: its --check."""

import hashlib
import json
import pathlib

from array_record.python import array_record_module

from visor_jax.data.prepare import pool
from visor_jax.data.sources import encoding
from visor_jax.data.sources import image_files
from visor_jax.data.sources import records
from visor_jax.data.sources import shards as shards_lib


def check(out, workers: int = 1) -> list[str]:
  """What is wrong with shards, [] if nothing is; decodes every image.

  Args:
    out: folder.
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
  names = {part['name'] for s in shards for part in (s, s['outline'])}
  wrong = [
    f'{p.name}: not in {path.name}'
    for p in sorted(out.iterdir())
    if p.suffix in ('.array_record', shards_lib.OUTLINE) and p.name not in names
  ]
  for found in pool.results(_shard, [(out, s) for s in shards], workers, None):
    wrong += found
  if sum(s['records'] for s in shards) != index['records']:
    wrong.append(f'{path.name}: shards do not add up to its records')
  return sorted(wrong)


def _shard(job, _):
  """What is wrong with one shard and its outline."""
  out, shard = job
  parts = shard, shard['outline']
  wrong = [fault for part in parts for fault in _bytes(out, part)]
  if wrong:
    return wrong
  readers = [
    array_record_module.ArrayRecordReader(str(out / part['name']))
    for part in parts
  ]
  counts = [reader.num_records() for reader in readers]
  due = shard['records'], counts[0]
  for part, count, expected in zip(parts, counts, due):
    if count != expected:
      wrong.append(f'{part["name"]}: {count} records, not {expected}')
  for number in range(min(counts)):
    data, outline = (reader.read() for reader in readers)
    wrong += [
      f'{shard["name"]}: record {number}: {fault}' for fault in _record(data)
    ]
    if outline != encoding.outline(data):
      wrong.append(
        f'{shard["outline"]["name"]}: record {number}: is not the '
        f"outline of {shard['name']}'s"
      )
  for reader in readers:
    reader.close()
  return wrong


def _bytes(out, part):
  """What is wrong with a file as such."""
  try:
    with open(out / part['name'], 'rb') as file:
      sha256 = hashlib.file_digest(file, 'sha256').hexdigest()
      length = file.seek(0, 2)
  except FileNotFoundError:
    return [f'{part["name"]}: missing']
  if (length, sha256) != (part['bytes'], part['sha256']):
    return [f'{part["name"]}: its bytes are not those that were written']
  return []


def _record(data):
  """What is wrong with an encoded record."""
  try:
    raw = encoding.decode(data)
    records.check(raw)
  except records.BadRecord as e:
    return [str(e)]
  wrong = []
  for size, file in zip(raw.sizes, raw.images):
    try:
      image = image_files.open_image(file)
      if size != (image.height, image.width):
        raise ValueError(f'is {image.height} x {image.width}, not {size}')
    except ValueError as e:
      wrong.append(f'{raw.id}: broken image: {e}')
  return wrong

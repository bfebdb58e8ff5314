"""Records as bytes in shards: magic, length of a JSON header, header, images.

The length is 4 bytes, little-endian. The JSON has id, images as [height, width,
bytes] and turns as [question, answer, family], or [..., system] where the
system says something.
"""

import json

from visor_jax.data.sources import records

_MAGIC = b'VJR1'  # first bytes of an encoded record; the digit is a version
_HEADER = 8  # where the JSON begins, behind magic and length


def encode(record: records.Record) -> bytes:
  """Equal bytes for equal records."""
  images = [
    [height, width, len(file)]
    for (height, width), file in zip(record.sizes, record.images, strict=True)
  ]
  header = json.dumps(
    dict(
      id=record.id,
      images=images,
      turns=[_fields(turn) for turn in record.turns],
    ),
    ensure_ascii=False,
    separators=(',', ':'),
  ).encode('utf-8')
  length = len(header).to_bytes(4, 'little')
  return b''.join((_MAGIC, length, header, *record.images))


def outline(data: bytes) -> bytes:
  """What rows are planned from: an encoded record up to its images."""
  return data[: _header_end(data)]


def decode(data: bytes, outlined: bool = False) -> records.Record:
  """The record that `encode` wrote.

  Args:
    data: an encoded record, or the `outline` of one.
    outlined: it is the latter, so the Record has sizes but no images.

  Raises:
    records.BadRecord: 'bad bytes'.
  """
  magic = data[: len(_MAGIC)]
  if magic != _MAGIC:
    raise records.BadRecord(
      'bad bytes', f'begins with {magic!r}, not {_MAGIC!r}'
    )
  at = _header_end(data)
  try:
    header = json.loads(data[_HEADER:at])
    sizes, files = [], []
    for height, width, length in header['images']:
      sizes.append((height, width))
      if not outlined:
        files.append(data[at : at + length])
        at += length
    record = records.Record(
      header['id'],
      tuple(files),
      tuple(sizes),
      tuple(records.Turn(*turn) for turn in header['turns']),
    )
  except (ValueError, KeyError, TypeError) as e:
    raise records.BadRecord('bad bytes', f'header: {e}') from None
  if at != len(data):
    raise records.BadRecord(
      'bad bytes', f'{len(data)} bytes; the header says {at}', record.id
    )
  return record


def _fields(turn: records.Turn) -> list[str]:
  """Of a turn; the last one only where there is something in it."""
  fields = [turn.question, turn.answer, turn.family]
  return [*fields, turn.system] if turn.system else fields


def _header_end(data: bytes) -> int:
  return _HEADER + int.from_bytes(data[len(_MAGIC) : _HEADER], 'little')

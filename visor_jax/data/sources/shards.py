"""ArrayRecord files of encoded records, as `prepare` writes them.

A folder of shards has shards.json, which names every file with its hash. Beside
each shard lies its outline, the records without their images: what rows are
planned from.
"""

import dataclasses
import hashlib
import json

from array_record.python import array_record_data_source

from visor_jax.data.sources import records

FORMAT = 2  # of encoded records, shards.json and where shards are cut
INDEX = 'shards.json'  # what `prepare` leaves beside its shards, when done
OUTLINE = '.outline'  # instead of .array_record: a shard without its images


class Shards:
  """ArrayRecord files of encoded records, as `prepare` writes them.

  Files that were made in another way may have no outlines.

  Args:
    files: in order.
  """

  def __init__(self, files):
    self.name = files[0].parent.name
    index = files[0].parent / INDEX
    if not index.exists() and index.with_suffix('.journal').exists():
      raise ValueError(
        f'{index.parent}: prepare has not finished; run it again'
      )
    facts = []
    if index.exists():
      # It has the hash of every file.
      facts.append(index.read_bytes())
      for shard in json.loads(facts[0])['shards']:
        for part in filter(None, (shard, shard.get('outline'))):
          if not (index.parent / part['name']).exists():
            raise ValueError(f'{index} names {part["name"]}, which is missing')
    outlines = [f.with_suffix(OUTLINE) for f in files]
    if not all(f.exists() for f in outlines):
      outlines = []
    try:
      self._records, self._outlines = (
        array_record_data_source.ArrayRecordDataSource(f) if f else None
        for f in (files, outlines)
      )
    except RuntimeError as e:
      raise ValueError(f'{index.parent}: not ArrayRecord files: {e}') from None
    self.fingerprint = digest(len(self), *traces(files + outlines), *facts)
    if not len(self):
      raise ValueError(f'{index.parent}: no records')
    if outlines and len(self._outlines) != len(self):
      raise ValueError(
        f'{index.parent}: {len(self._outlines)} outlines of '
        f'{len(self)} records; they are of other shards'
      )

  def __len__(self):
    return len(self._records)

  def __getitem__(self, index: int) -> records.Raw:
    return self._decode(self._records, index)

  def outline(self, index: int) -> records.Raw:
    """The record without images, which are read only for lack of outlines."""
    if self._outlines is None:
      return dataclasses.replace(self[index], images=())
    return self._decode(self._outlines, index, outlined=True)

  def _decode(self, files, index, outlined=False):
    try:
      return records.decode(files[index], outlined)
    except records.BadRecord as e:
      raise records.BadRecord(
        e.reason, e.detail, e.id or f'{self.name}/{index}'
      ) from None


def traces(files) -> list[tuple]:
  """Name, size and a hash of both ends of each file, where indices are."""
  found, ends = [], 1 << 16
  for path in files:
    with open(path, 'rb') as file:
      head = file.read(ends)
      length = file.seek(0, 2)
      file.seek(max(0, length - ends))
      found.append((path.name, length, digest(head, file.read())))
  return found


def digest(*facts) -> str:
  """32 hexadecimal digits."""
  return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]

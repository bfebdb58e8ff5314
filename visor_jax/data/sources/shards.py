"""ArrayRecord files of encoded records, as `prepare` writes them.

A folder of shards has shards.json, which names every file with its hash. Beside
each shard lies its outline, the records without their images: what rows are
planned from.
"""

from collections.abc import Sequence
import dataclasses
import json
import pathlib

from array_record.python import array_record_data_source

from visor_jax.data.sources import encoding
from visor_jax.data.sources import fingerprints
from visor_jax.data.sources import records
from visor_jax.runtime import paths

FORMAT = 3  # of encoded records, shards.json and where shards are cut
INDEX = 'shards.json'  # what `prepare` leaves beside its shards, when done
OUTLINE = '.outline'  # instead of .array_record: a shard without its images


class Shards:
  """ArrayRecord files of encoded records, as `prepare` writes them.

  Files that were written in another way may have no outlines.

  Attributes:
    name: the folder's.
    fingerprint: changes when the data does.

  Args:
    files: paths, in order, of one folder.

  Raises:
    ValueError: `prepare` has not finished, a file is missing or not what it
      should be, or there are no records.
  """

  def __init__(self, files: Sequence[pathlib.Path]):
    folder = files[0].parent
    self.name = folder.name
    index = _read_index(folder)
    outlines = [f.with_suffix(OUTLINE) for f in files]
    if not all(f.exists() for f in outlines):
      outlines = []
    try:
      files = [paths.local_copy(f) for f in files]
      outlines = [paths.local_copy(f) for f in outlines]
      self._records = array_record_data_source.ArrayRecordDataSource(files)
      self._outlines = (
        array_record_data_source.ArrayRecordDataSource(outlines)
        if outlines
        else None
      )
    except RuntimeError as e:
      raise ValueError(f'{folder}: not ArrayRecord files: {e}') from None
    traces = fingerprints.traces([*files, *outlines])
    self.fingerprint = fingerprints.digest(len(self), *traces, *index)
    if not len(self):
      raise ValueError(f'{folder}: no records')
    if self._outlines is not None and len(self._outlines) != len(self):
      raise ValueError(
        f'{folder}: {len(self._outlines)} outlines of {len(self)} records; '
        'they are of other shards'
      )

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> records.Record:
    return self._decode(self._records, index)

  def outline(self, index: int) -> records.Record:
    """The record without images, which are read only for lack of outlines."""
    if self._outlines is None:
      return dataclasses.replace(self[index], images=())
    return self._decode(self._outlines, index, outlined=True)

  def _decode(
    self,
    files: array_record_data_source.ArrayRecordDataSource,
    index: int,
    outlined: bool = False,
  ) -> records.Record:
    name = f'{self.name}/{index}'
    try:
      data = files[index]
    except RuntimeError as e:  # ArrayRecord's of a disk that fails
      raise RuntimeError(f'record {name}: {e}') from e
    try:
      return encoding.decode(data, outlined)
    except records.BadRecord as e:
      raise e.named(e.id or name) from None


def _read_index(folder: pathlib.Path) -> list[bytes]:
  """shards.json, which has the hash of every file; [] where there is none."""
  index = folder / INDEX
  if not index.exists():
    if index.with_suffix('.journal').exists():
      raise ValueError(f'{folder}: prepare has not finished; run it again')
    return []
  data = index.read_bytes()
  try:
    shards = json.loads(data)['shards']
  except (ValueError, KeyError, TypeError) as e:
    raise ValueError(
      f'{index} is not what prepare leaves ({e!r}); run it again'
    ) from None
  for shard in shards:
    for part in filter(None, (shard, shard.get('outline'))):
      if not (folder / part['name']).exists():
        raise ValueError(f'{index} names {part["name"]}, which is missing')
  return [data]

"""Conversations in JSON files.

What is held of a file is where its records begin and end, see `json_spans`.
"""

import hashlib
import json
import pathlib
from typing import Any

from visor_jax.data.sources import fingerprints
from visor_jax.data.sources import image_paths
from visor_jax.data.sources import json_spans
from visor_jax.data.sources import llava
from visor_jax.data.sources import records
from visor_jax.runtime import paths
from visor_jax.runtime import regular_files


class Conversations:
  """A JSON list, an object per line, or an object that holds a list.

  The fields of a record are those of `llava.parse`. What is no record has an
  index too, and is a bad one.

  Attributes:
    name: the file's, without its suffix.
    fingerprint: changes when the data does.

  Args:
    path: file.
    images: where image paths start from.

  Raises:
    ValueError: the list is cut short, something stands behind it or between its
      records, or there are no records.
  """

  def __init__(
    self, path: pathlib.Path, images: image_paths.Folder = image_paths.Folder()
  ):
    self.name = path.stem
    self._path, self._images = paths.local_copy(path), images
    self._spans = json_spans.spans(self._path, llava.TURNS)
    if not len(self):
      raise ValueError(f'{path}: no records')
    with open(self._path, 'rb') as file:
      # All of it was read anyway, so every byte counts.
      self.fingerprint = fingerprints.digest(
        path.name, hashlib.file_digest(file, 'sha256').hexdigest()
      )

  def __len__(self) -> int:
    return len(self._spans)

  def __getitem__(self, index: int) -> records.Record:
    start, stop, line = self._spans[index].tolist()
    name = f'{self.name}/{index}'
    if stop - start > regular_files.MAX_BYTES:
      raise records.BadRecord(
        'bad json',
        f'{self._path.name} line {line}: {stop - start} bytes; expected at '
        f'most {regular_files.MAX_BYTES}',
        name,
      )
    with open(self._path, 'rb') as file:
      file.seek(start)
      data = file.read(stop - start)
    try:
      return llava.parse(_fields(data, line), name, self._images, self.name)
    except records.BadRecord as e:
      detail = f'{self._path.name} line {line}: {e.detail}'
      raise records.BadRecord(e.reason, detail, e.id or name) from None

  def outline(self, index: int) -> records.Record:
    """The record itself: sizes are known by the images alone."""
    return self[index]


def _fields(data: bytes, line: int) -> Any:
  """What stands in JSON at a line of a file.

  Raises:
    records.BadRecord: it is no JSON, without an id.
  """
  try:
    return json.loads(
      data.decode('utf-8-sig'), object_pairs_hook=_without_repeats
    )
  except UnicodeDecodeError as e:
    raise records.BadRecord('bad text', str(e)) from None
  except json.JSONDecodeError as e:
    where = f'line {line + e.lineno - 1} column {e.colno}'
    raise records.BadRecord('bad json', f'{e.msg} at {where}') from None
  except (ValueError, RecursionError) as e:
    raise records.BadRecord('bad json', str(e)) from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """An object; of a key that stands twice JSON would take the last."""
  fields = dict(pairs)
  if len(fields) < len(pairs):
    keys = [key for key, _ in pairs]
    repeated = next(key for key in keys if keys.count(key) > 1)
    raise ValueError(f'key "{repeated}" stands there twice')
  return fields

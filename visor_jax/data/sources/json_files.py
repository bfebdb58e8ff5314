"""Conversations in JSON files: a list, or an object per line.

What is held of a file is where its records begin and end.
"""

import array
from collections.abc import Iterable
import hashlib
import json
import mmap
import pathlib
import re
from typing import BinaryIO

import numpy as np

from visor_jax.data.sources import fingerprints
from visor_jax.data.sources import llava
from visor_jax.data.sources import records

# Up to the next bracket outside of strings, which may hold brackets too.
_BRACKET = re.compile(
  rb'[^][{}"]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^][{}"]*+)*+([][{}])', re.S
)


class Conversations:
  """LLaVA's JSON list, or a JSON object per line.

  The fields of a record are those of `llava.parse`.

  Attributes:
    name: the file's, without its suffix.
    fingerprint: changes when the data does.

  Args:
    path: file.
    images_folder: folder that image paths start from.

  Raises:
    ValueError: the list is cut short, or there are no records.
  """

  def __init__(
    self, path: pathlib.Path, images_folder: pathlib.Path | str | None = None
  ):
    self.name = path.stem
    self._path, self._images_folder = path, images_folder
    with open(path, 'rb') as file:
      head = file.read(4096).lstrip(b'\xef\xbb\xbf \t\r\n')  # a mark, spaces
      file.seek(0)
      spans = _elements(file) if head[:1] == b'[' else _lines(file)
      file.seek(0)
      # All of it was read anyway, so every byte counts.
      self.fingerprint = fingerprints.digest(
        path.name, hashlib.file_digest(file, 'sha256').hexdigest()
      )
    self._spans = np.array(spans, np.int64).reshape(-1, 2)
    if not len(self):
      raise ValueError(f'{path}: no records')

  def __len__(self) -> int:
    return len(self._spans)

  def __getitem__(self, index: int) -> records.Record:
    start, stop = self._spans[index]
    with open(self._path, 'rb') as file:
      file.seek(start)
      data = file.read(stop - start)
    name = f'{self.name}/{index}'
    try:
      fields = json.loads(data.decode('utf-8-sig'))
    except UnicodeDecodeError as e:
      raise records.BadRecord('bad text', str(e), name) from None
    except (ValueError, RecursionError) as e:
      raise records.BadRecord('bad json', str(e), name) from None
    return llava.parse(fields, name, self._images_folder, self.name)

  def outline(self, index: int) -> records.Record:
    """The record itself: sizes are known by the images alone."""
    return self[index]


def _lines(file: BinaryIO) -> Iterable[int]:
  """start, stop, start, stop, ... of the lines that are not empty."""
  spans, at = array.array('q'), 0
  for line in file:
    if line.strip():
      spans.extend((at, at + len(line)))
    at += len(line)
  return spans


def _elements(file: BinaryIO) -> Iterable[int]:
  """start, stop, start, stop, ... of the objects in a JSON list."""
  spans, depth, at = array.array('q'), 0, 0
  with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
    # One match from where the last ended: a search would, in a file that is
    # cut within a string, try every byte up to the end.
    while match := _BRACKET.match(data, at):
      at = match.end()
      if match[1] in b'[{':
        depth += 1
        if depth == 2:
          spans.append(at - 1)
      else:
        depth -= 1
        if depth == 1:
          spans.append(at)
        elif depth < 1:
          return spans
  raise ValueError(
    f'{file.name}: the list is cut short after {len(spans) // 2} records'
  )

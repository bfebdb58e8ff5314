"""Where records stand in a JSON file, without reading what they say.

A file is a list; an object a line; objects that take several lines, one behind
the other; or an object that holds one list, like {"data": [...]}. Every element
has a span, also one that is no record: what is left out is left out by its
reader, who counts it.
"""

import array
import mmap
import os
import pathlib
import re

import numpy as np

# Up to the next bracket outside of strings, which may hold brackets too.
_BRACKET = re.compile(
  rb'[^][{}"]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^][{}"]*+)*+([][{}])', re.S
)
_SOLID = re.compile(rb'[^ \t\r\n]')
_TOKEN = re.compile(rb'\s*+(,|"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^\s,"]++)', re.S)
_KEY = re.compile(rb'"([^"\\]*+(?:\\.[^"\\]*+)*+)"\s*:\s*$', re.S)
_MARK = b'\xef\xbb\xbf'  # of UTF-8, at the start of a file

_KEY_BYTES = 256  # of a key that are looked at, and of what errors show


class _Spans:
  """Spans of records that are being collected, with their lines.

  Attributes:
    array: start, stop, line, start, stop, line, ...
  """

  def __init__(self, data: mmap.mmap):
    self.array = array.array('q')
    self._data = data
    self._line, self._counted = 1, 0

  def add(self, start: int, stop: int) -> None:
    self.array.extend((start, stop, self.line(start)))

  def line(self, at: int) -> int:
    """Number of the line that holds a byte not before the last one asked."""
    self._line += self._data[self._counted : at].count(b'\n')
    self._counted = at
    return self._line


def spans(path: pathlib.Path, record_keys: tuple[str, ...]) -> np.ndarray:
  """int64 [n, 3]: first byte, one past the last, and line of each record.

  Args:
    path: of the file.
    record_keys: keys with a list that only a record has, so that an object with
      one is no object that holds records.

  Raises:
    ValueError: naming the line of what is none of these files, or is cut short.
  """
  if not os.path.getsize(path):
    return np.zeros((0, 3), np.int64)
  with (
    open(path, 'rb') as file,
    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
  ):
    spans = _of_file(data, path, record_keys)
    return np.array(spans.array, np.int64).reshape(-1, 3)


def _of_file(
  data: mmap.mmap, path: pathlib.Path, record_keys: tuple[str, ...]
) -> _Spans:
  at = _solid(data, len(_MARK) if data[: len(_MARK)] == _MARK else 0)
  if data[at : at + 1] == b'[':
    listed, behind = _elements(data, at, path)
    _require_end(data, behind, listed, path)
    return listed
  if data[at : at + 1] != b'{':
    return _lines(data)
  end = _end(data, at)
  if end is None:  # the first line is cut
    return _lines(data)
  if _solid(data, end) == len(data):
    return _of_object(data, at, end, path, record_keys)
  if data.find(b'\n', at, end) >= 0:
    return _objects(data, at) or _lines(data)
  return _lines(data)


def _lines(data: mmap.mmap) -> _Spans:
  """An object per line; empty ones are none."""
  lines, at = _Spans(data), 0
  while at < len(data):
    end = data.find(b'\n', at) + 1 or len(data)
    if _SOLID.search(data, at, end):
      lines.add(at, end)
    at = end
  return lines


def _objects(data: mmap.mmap, at: int) -> _Spans | None:
  """Objects one behind the other; None where there is something else."""
  objects = _Spans(data)
  while at < len(data):
    end = _end(data, at)
    if data[at : at + 1] != b'{' or end is None:
      return None
    objects.add(at, end)
    at = _solid(data, end)
  return objects


def _of_object(
  data: mmap.mmap,
  start: int,
  end: int,
  path: pathlib.Path,
  record_keys: tuple[str, ...],
) -> _Spans:
  """The list that the only object of a file holds, or that object itself."""
  lists = _lists(data, start, end)
  candidates = [
    key for key, at in lists.items() if data[_solid(data, at + 1) :][:1] == b'{'
  ]
  if any(key in lists for key in record_keys) or not candidates:
    record = _Spans(data)
    record.add(start, end)
    return record
  if len(candidates) > 1:
    raise ValueError(
      f'{path} holds the lists {", ".join(candidates)}; expected one: give '
      'each a file of its own'
    )
  return _elements(data, lists[candidates[0]], path)[0]


def _lists(data: mmap.mmap, at: int, end: int) -> dict[str, int]:
  """{key: where its list begins} of an object."""
  lists, depth = {}, 0
  while at < end and (match := _BRACKET.match(data, at)):
    at = match.end()
    if match[1] in b'[{':
      depth += 1
      key = _KEY.search(data[max(0, at - 1 - _KEY_BYTES) : at - 1])
      if depth == 2 and match[1] == b'[' and key:
        lists[key[1].decode('utf-8', 'replace')] = at - 1
    else:
      depth -= 1
  return lists


def _elements(
  data: mmap.mmap, at: int, path: pathlib.Path
) -> tuple[_Spans, int]:
  """All elements of the list that begins at a byte, and one past its end."""
  listed, depth, start, end = _Spans(data), 0, at, at + 1
  # One match from where the last ended: a search would, in a file that is
  # cut within a string, try every byte up to the end.
  while match := _BRACKET.match(data, at):
    at = match.end()
    if match[1] in b'[{':
      depth += 1
      if depth == 2:
        start = at - 1
        _between(data, end, start, listed, path, last=False)
    else:
      depth -= 1
      if depth == 1:
        listed.add(start, at)
        end = at
      elif depth < 1:
        _between(data, end, at - 1, listed, path, last=True)
        return listed, at
  raise ValueError(
    f'{path}: the list is cut short after {len(listed.array) // 3} records'
  )


def _between(
  data: mmap.mmap,
  start: int,
  stop: int,
  listed: _Spans,
  path: pathlib.Path,
  *,
  last: bool,
) -> None:
  """Adds what stands between two objects of a list: numbers, nulls, texts.

  Raises a ValueError where no comma is, or one too many.

  Args:
    data: of the file.
    start: one past the object before, or past the list's bracket.
    stop: first byte of the object behind, or of the list's bracket.
    listed: the elements before.
    path: of the file.
    last: the list's bracket is behind it.
  """
  text, at = data[start:stop].rstrip(), 0
  separated = not listed.array  # a comma, or the list's bracket, is in front
  while at < len(text):
    match = _TOKEN.match(text, at)
    if not match or (match[1] == b',') == separated:
      break
    separated = match[1] == b','
    if not separated:
      listed.add(start + match.start(1), start + match.end(1))
    at = match.end()
  if at < len(text) or separated == (last and bool(listed.array)):
    rest = text[at:].lstrip()
    line = listed.line(start + len(text) - len(rest))
    raise ValueError(
      f'{path} line {line}: expected one comma between two elements of the '
      f'list; there is {_shown(rest)}'
    )


def _require_end(
  data: mmap.mmap, end: int, listed: _Spans, path: pathlib.Path
) -> None:
  at = _solid(data, end)
  if at < len(data):
    line, rest = listed.line(at), data[at : at + _KEY_BYTES]
    raise ValueError(
      f'{path} line {line}: {_shown(rest)} stands behind the list; expected '
      'one list: give each a file of its own'
    )


def _end(data: mmap.mmap, at: int) -> int | None:
  """One past the object that begins at a byte; None where it is cut short."""
  depth = 0
  while match := _BRACKET.match(data, at):
    at = match.end()
    depth += 1 if match[1] in b'[{' else -1
    if depth < 1:
      return at
  return None


def _solid(data: mmap.mmap, at: int) -> int:
  """The first byte from there on that is no white space."""
  match = _SOLID.search(data, at)
  return match.start() if match else len(data)


def _shown(text: bytes) -> str:
  return repr(text[:40].decode('utf-8', 'replace'))

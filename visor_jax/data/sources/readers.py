"""Where records come from: each source gives record i without reading others.

All have `len(source)`, `source[i]`, a `name` and a `fingerprint`, which changes
when the data does. `source.outline(i)` is record i for who plans rows: its
images may be missing, and shards do not read them. What sources keep is
offsets, no open files (ArrayRecord's readers open again by themselves), so that
a source can be pickled for a worker and read by many threads.
"""

import array
import fractions
import hashlib
import json
import math
import mmap
import pathlib
import re

import numpy as np
import yaml

from visor_jax.data.sources import records
from visor_jax.data.sources import shards
from visor_jax.data.sources import tables
from visor_jax.data.sources import tfds

# Up to the next bracket outside of strings, which may hold brackets too.
_BRACKET = re.compile(
  rb'[^][{}"]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^][{}"]*+)*+([][{}])', re.S
)


def open_source(path, images_folder=None, seed: int = 0):
  """The source in a file or folder.

  Args:
    path: LLaVA's .json or .jsonl; a .yaml mixture; .parquet or .array_record,
      as a file, a folder of them, or a pattern like 'folder/train-*.parquet';
      or a TensorFlow dataset as 'tfds:my_chart_set', see `tfds_source`.
    images_folder: what image paths in records start from.
    seed: of a mixture's random choices.

  Raises:
    FileNotFoundError: there is no such file or folder.
    ValueError: it is no source, is cut short, or has no records.
  """
  if str(path).startswith('tfds:'):
    return tfds.Tfds(str(path))
  path = pathlib.Path(path)
  if path.is_dir():
    return _open_files(
      path,
      sorted(
        f for f in path.iterdir() if f.suffix in ('.parquet', '.array_record')
      ),
      images_folder,
    )
  if '*' in path.name:
    return _open_files(path, sorted(path.parent.glob(path.name)), images_folder)
  if not path.exists():
    raise FileNotFoundError(f'{path}: no such file or folder')
  if path.suffix in ('.json', '.jsonl'):
    return Conversations(path, images_folder)
  if path.suffix in ('.yaml', '.yml'):
    return Mixture(path, images_folder, seed)
  return _open_files(path, [path], images_folder)


def _open_files(path, files, images_folder):
  """The source of files that belong together."""
  files = [f for f in files if f.suffix != shards.OUTLINE]  # of a pattern
  if {f.suffix for f in files} == {'.array_record'}:
    return shards.Shards(files)
  if {f.suffix for f in files} != {'.parquet'}:
    raise ValueError(
      f'{path}: expected a .json, .jsonl or .yaml file, or '
      'either .parquet or .array_record files'
    )
  splits = sorted({re.sub(r'-\d+-of-\d+.*', '', f.name) for f in files})
  if len(splits) > 1 and splits != [f.name for f in files]:
    raise ValueError(
      f'{path}: holds {", ".join(splits)}; say which, like '
      f'{path}/{splits[-1]}-*.parquet'
    )
  return Parquet(files, images_folder)


class Conversations:
  """LLaVA's JSON list, or a JSON object per line.

  The fields of a record are those of `records.of_llava`.

  Args:
    path: of the file.
    images_folder: what image paths start from.
  """

  def __init__(self, path, images_folder=None):
    self.name = path.stem
    self._path, self._images = path, images_folder
    with open(path, 'rb') as file:
      head = file.read(4096).lstrip(b'\xef\xbb\xbf \t\r\n')  # a mark, spaces
      file.seek(0)
      spans = _elements(file) if head[:1] == b'[' else _lines(file)
      file.seek(0)
      # All of it was read anyway, so every byte counts.
      self.fingerprint = shards.digest(
        path.name, hashlib.file_digest(file, 'sha256').hexdigest()
      )
    self._spans = np.array(spans, np.int64).reshape(-1, 2)
    if not len(self):
      raise ValueError(f'{path}: no records')

  def __len__(self):
    return len(self._spans)

  def __getitem__(self, index: int) -> records.Raw:
    start, stop = self._spans[index]
    with open(self._path, 'rb') as file:
      file.seek(start)
      line = file.read(stop - start)
    name = f'{self.name}/{index}'
    try:
      fields = json.loads(line.decode('utf-8-sig'))
    except UnicodeDecodeError as e:
      raise records.BadRecord('bad text', str(e), name) from None
    except (ValueError, RecursionError) as e:
      raise records.BadRecord('bad json', str(e), name) from None
    return records.of_llava(fields, name, self._images, self.name)

  def outline(self, index: int) -> records.Raw:
    """The record itself: sizes are known by the images alone."""
    return self[index]


def _lines(file):
  """start, stop, start, stop, ... of the lines that are not empty."""
  spans, at = array.array('q'), 0
  for line in file:
    if line.strip():
      spans.extend((at, at + len(line)))
    at += len(line)
  return spans


def _elements(file):
  """start, stop, start, stop, ... of the objects in a JSON list."""
  spans, depth, at = array.array('q'), 0, 0
  with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
    # One match from where the last ended: a search would, in a file that is
    # cut within a string, try every byte up to the end.
    while found := _BRACKET.match(data, at):
      at = found.end()
      if found[1] in b'[{':
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


class Mixture:
  """LLaVA-OneVision's YAML: datasets of json_path and sampling_strategy.

  A strategy is all, or first, random or end with a number or a share: first:10,
  random:5%. Shares are rounded up. Relative paths start from the YAML's folder.

  Args:
    path: of the file.
    images_folder: of all datasets.
    seed: of random choices; they depend on nothing else.
  """

  def __init__(self, path, images_folder=None, seed=0):
    self.name = path.stem
    try:
      parts = yaml.safe_load(path.read_text('utf-8'))['datasets']
      parts = [
        (p['json_path'], str(p.get('sampling_strategy', 'all'))) for p in parts
      ]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as e:
      raise ValueError(
        f'{path}: expected datasets, a list with json_path and '
        f'sampling_strategy: {e!r}'
      ) from None
    self._parts, facts = [], []
    for number, (name, strategy) in enumerate(parts):
      place = name if name.startswith('tfds:') else path.parent / name
      source = open_source(place, images_folder, seed)
      try:
        chosen = _chosen(strategy, len(source), (seed, number))
      except ValueError as e:
        raise ValueError(f'{path}: {name}: {e}') from None
      self._parts.append((source, chosen))
      facts += [source.fingerprint, strategy]
    self._starts = np.cumsum([0] + [len(c) for _, c in self._parts])
    self.fingerprint = shards.digest(path.name, seed, *facts)
    if not len(self):
      raise ValueError(f'{path}: no records')

  def __len__(self):
    return int(self._starts[-1])

  def __getitem__(self, index: int) -> records.Raw:
    source, place = self._place(index)
    return source[place]

  def outline(self, index: int) -> records.Raw:
    """As the record's own source gives it."""
    source, place = self._place(index)
    return source.outline(place)

  def _place(self, index):
    """The source of a record, and its index there."""
    part = np.searchsorted(self._starts, index, 'right') - 1
    source, chosen = self._parts[part]
    return source, int(chosen[index - self._starts[part]])


def _chosen(strategy, length, key):
  """Indices of the records that a strategy takes."""
  kind, _, amount = strategy.partition(':')
  if strategy == 'all':
    return range(length)
  if kind not in ('first', 'random', 'end') or not re.fullmatch(
    r'\d+%?|\d+\.\d+%', amount
  ):
    raise ValueError(
      f'sampling_strategy is "{strategy}"; expected all, or '
      'first, random or end with a number like :100 or :5%'
    )
  count = fractions.Fraction(amount.rstrip('%'))  # 0.1% of 1000 is 1 exactly
  if amount.endswith('%'):
    count = math.ceil(count * length / 100)
  count = min(int(count), length)
  if kind == 'random':
    # Raw bits: numpy keeps these the same for ever, its permutations not.
    bits = np.random.PCG64(key).random_raw(length)
    return np.sort(np.argsort(bits, kind='stable')[:count])
  return range(count) if kind == 'first' else range(length - count, length)


class Parquet:
  """Parquet files as the hub serves them.

  Columns are `conversations`, and, if there are such, `id` and `image` or
  `images`: {bytes, path}, bytes or a path, one or a list. For random order,
  prepare shards.

  Args:
    files: in order.
    images_folder: what image paths start from.
  """

  def __init__(self, files, images_folder=None):
    self.name = re.sub(r'-\d+-of-\d+.*', '', files[0].stem)
    self._images = images_folder
    self._table = tables.Table(
      files, ('conversations',), ('id', 'image', 'images')
    )
    self.fingerprint = self._table.fingerprint

  def __len__(self):
    return len(self._table)

  def __getitem__(self, index: int) -> records.Raw:
    name = f'{self.name}/{index}'
    try:
      fields = self._table[index]
    except UnicodeDecodeError as e:
      raise records.BadRecord('bad text', str(e), name) from None
    return records.of_llava(fields, name, self._images, self.name)

  def outline(self, index: int) -> records.Raw:
    """The record itself: sizes are known by the images alone."""
    return self[index]

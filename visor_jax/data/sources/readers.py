"""Where records come from: each source gives record i without reading others.

All are protocols.Source: they have `len(source)`, `source[i]`, `outline(i)`, a
`name` and a `fingerprint`. What they hold is offsets, no open files
(ArrayRecord's readers open again by themselves), so that a source can be
pickled for a worker and read by many threads.
"""

from collections.abc import Iterable
import fractions
import math
import pathlib
import re

import numpy as np
import yaml

from visor_jax.data import protocols
from visor_jax.data.sources import fingerprints
from visor_jax.data.sources import json_files
from visor_jax.data.sources import parquet_files
from visor_jax.data.sources import records
from visor_jax.data.sources import shards
from visor_jax.data.sources import tfds

_SHARDS, _PARQUET = '.array_record', '.parquet'  # these come as many files


def open_source(
  path: pathlib.Path | str,
  images_folder: pathlib.Path | str | None = None,
  seed: int = 0,
) -> protocols.Source:
  """The source in a file or folder.

  Args:
    path: LLaVA's .json or .jsonl; a .yaml mixture; .parquet or .array_record,
      as a file, a folder of them, or a pattern like 'folder/train-*.parquet';
      or a TensorFlow dataset as 'tfds:my_chart_set', see `tfds`.
    images_folder: folder that image paths in records start from.
    seed: decides a mixture's random choices.

  Raises:
    FileNotFoundError: there is no such file or folder.
    ValueError: it is no source, is cut short, or has no records.
  """
  if str(path).startswith('tfds:'):
    return tfds.Tfds(str(path))
  path = pathlib.Path(path)
  if path.is_dir():
    files = [f for f in path.iterdir() if f.suffix in (_SHARDS, _PARQUET)]
    return _open_files(path, files, images_folder)
  if '*' in path.name:
    return _open_files(path, path.parent.glob(path.name), images_folder)
  if not path.exists():
    raise FileNotFoundError(f'{path}: no such file or folder')
  if path.suffix in ('.json', '.jsonl'):
    return json_files.Conversations(path, images_folder)
  if path.suffix in ('.yaml', '.yml'):
    return Mixture(path, images_folder, seed)
  return _open_files(path, [path], images_folder)


def _open_files(
  path: pathlib.Path,
  files: Iterable[pathlib.Path],
  images_folder: pathlib.Path | str | None,
) -> protocols.Source:
  """The source of files that belong together, under the path that names them.

  Raises:
    ValueError: they are of several kinds or splits, or of a kind that nothing
      here reads.
  """
  # A pattern may take outlines along.
  files = sorted(f for f in files if f.suffix != shards.OUTLINE)
  suffixes = {f.suffix for f in files}
  if suffixes == {_SHARDS}:
    return shards.Shards(files)
  if suffixes != {_PARQUET}:
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
  return parquet_files.Parquet(files, images_folder)


class Mixture:
  """LLaVA-OneVision's YAML: datasets of json_path and sampling_strategy.

  A strategy is all, or first, random or end with a number or a share: first:10,
  random:5%. Shares are rounded up. Relative paths start from the YAML's folder.

  Attributes:
    name: the file's, without its suffix.
    fingerprint: changes when the data, a strategy or the seed does.

  Args:
    path: file.
    images_folder: folder that the image paths of all datasets start from.
    seed: decides random choices, which depend on nothing else.

  Raises:
    FileNotFoundError: a dataset is not there.
    ValueError: the file is not such a mixture, or has no records.
  """

  def __init__(
    self,
    path: pathlib.Path,
    images_folder: pathlib.Path | str | None = None,
    seed: int = 0,
  ):
    self.name = path.stem
    self._parts: list[tuple[protocols.Source, range | np.ndarray]] = []
    facts = []
    for number, (name, strategy) in enumerate(_datasets(path)):
      source = open_source(
        name if name.startswith('tfds:') else path.parent / name,
        images_folder,
        seed,
      )
      try:
        chosen = _chosen(strategy, len(source), (seed, number))
      except ValueError as e:
        raise ValueError(f'{path}: {name}: {e}') from None
      self._parts.append((source, chosen))
      facts += [source.fingerprint, strategy]
    self._starts = np.cumsum([0] + [len(c) for _, c in self._parts])
    self.fingerprint = fingerprints.digest(path.name, seed, *facts)
    if not len(self):
      raise ValueError(f'{path}: no records')

  def __len__(self) -> int:
    return int(self._starts[-1])

  def __getitem__(self, index: int) -> records.Record:
    source, index = self._locate(index)
    return source[index]

  def outline(self, index: int) -> records.Record:
    """As the record's own source gives it."""
    source, index = self._locate(index)
    return source.outline(index)

  def _locate(self, index: int) -> tuple[protocols.Source, int]:
    """The source of a record, and its index there."""
    part = int(np.searchsorted(self._starts, index, 'right')) - 1
    source, chosen = self._parts[part]
    return source, int(chosen[index - self._starts[part]])


def _datasets(path: pathlib.Path) -> list[tuple[str, str]]:
  """(json_path, sampling_strategy) of a mixture's datasets."""
  try:
    datasets = yaml.safe_load(path.read_text('utf-8'))['datasets']
    return [
      (d['json_path'], str(d.get('sampling_strategy', 'all'))) for d in datasets
    ]
  except (yaml.YAMLError, KeyError, TypeError, AttributeError) as e:
    raise ValueError(
      f'{path}: expected datasets, a list with json_path and '
      f'sampling_strategy: {e!r}'
    ) from None


def _chosen(
  strategy: str, length: int, key: tuple[int, int]
) -> range | np.ndarray:
  """Indices of the records that a strategy takes, in ascending order."""
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
  number = fractions.Fraction(amount.rstrip('%'))  # 0.1% of 1000 is 1 exactly
  if amount.endswith('%'):
    count = math.ceil(number * length / 100)
  else:
    count = int(number)
  count = min(count, length)
  if kind == 'first':
    return range(count)
  if kind == 'end':
    return range(length - count, length)
  # Raw bits: numpy keeps these the same for ever, its permutations not.
  bits = np.random.PCG64(key).random_raw(length)
  return np.sort(np.argsort(bits, kind='stable')[:count])

"""Where records come from: each source gives record i without reading others.

All are protocols.Source: they have `len(source)`, `source[i]`, `outline(i)`, a
`name` and a `fingerprint`. What they hold is offsets, no open files
(ArrayRecord's readers open again by themselves), so that a source can be
pickled for a worker and read by many threads.
"""

from collections.abc import Callable
from collections.abc import Iterable
import fractions
import math
import pathlib
import re
from typing import Any

import numpy as np
import yaml

from visor_jax.data import protocols
from visor_jax.data.sources import easy_vqa
from visor_jax.data.sources import fingerprints
from visor_jax.data.sources import image_paths
from visor_jax.data.sources import json_files
from visor_jax.data.sources import numbered_files
from visor_jax.data.sources import parquet_files
from visor_jax.data.sources import records
from visor_jax.data.sources import shards
from visor_jax.data.sources import tfds
from visor_jax.runtime import paths

# What no path leads to, by the beginning of its name.
_NAMED: dict[str, Callable[[str], protocols.Source]] = {
  'tfds:': tfds.Tfds,
  easy_vqa.NAME: easy_vqa.Source,
}
_SHARDS, _PARQUET = '.array_record', '.parquet'  # these come as many files


def open_source(
  path: pathlib.Path | str,
  images_folder: pathlib.Path | str | None = None,
  seed: int = 0,
  follow_outside: bool = False,
) -> protocols.Source:
  """The source in a file or folder.

  Args:
    path: .json or .jsonl of conversations; a .yaml mixture; .parquet or
      .array_record, as a file, a folder of them, or a pattern like
      'folder/train-*.parquet'; or a TensorFlow dataset as 'tfds:my_chart_set',
      see `tfds`; or 'easy-vqa:train', see `easy_vqa`.
    images_folder: folder that image paths in records start from.
    seed: decides a mixture's random choices.
    follow_outside: image paths and links may lead out of that folder.

  Raises:
    FileNotFoundError: there is no such file or folder.
    ValueError: it is no source, is cut short, or has no records.
  """
  if images_folder is not None:
    images_folder = paths.parse(images_folder, 'the images folder')
    if not images_folder.is_dir():
      raise FileNotFoundError(f'{images_folder}: no such folder of images')
  images = image_paths.Folder(images_folder, follow_outside)
  return _open(path, images, seed, ())


def _open(
  path: pathlib.Path | str,
  images: image_paths.Folder,
  seed: int,
  mixtures: tuple[pathlib.Path, ...],
) -> protocols.Source:
  """`open_source` for a dataset of so many mixtures, one in the other."""
  for prefix, open_named in _NAMED.items():
    if str(path).startswith(prefix):
      return open_named(str(path))
  path = paths.parse(path, 'a source')
  if path.is_dir():
    files = [f for f in path.iterdir() if f.suffix in (_SHARDS, _PARQUET)]
    source = _open_files(path, files, images)
    numbered_files.check(files)
    return source
  if '*' in path.name:
    files = list(path.parent.glob(path.name))
    source = _open_files(path, files, images)
    if not re.search(r'\d', path.name):  # else it asks for some of them
      numbered_files.check(files)
    return source
  if not path.exists():
    raise FileNotFoundError(f'{path}: no such file or folder')
  if not path.is_file():
    raise ValueError(f'{path} is neither a file nor a folder')
  if path.suffix in ('.json', '.jsonl'):
    return json_files.Conversations(path, images)
  if path.suffix in ('.yaml', '.yml'):
    if path.resolve() in mixtures:
      raise ValueError(f'{path}: a dataset of this mixture is the mixture')
    return Mixture(path, images, seed, (*mixtures, path.resolve()))
  return _open_files(path, [path], images)


def _open_files(
  path: pathlib.Path,
  files: Iterable[pathlib.Path],
  images: image_paths.Folder,
) -> protocols.Source:
  """The source of files that belong together, under the path that names them.

  Raises:
    ValueError: they are of several kinds or splits, or of a kind that nothing
      here reads.
  """
  # A pattern may take outlines along.
  files = sorted(f for f in files if f.suffix != shards.OUTLINE)
  for file in files:
    if not file.is_file():
      raise ValueError(f'{file} is not a file')
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
  return parquet_files.Parquet(files, images)


class Mixture:
  """LLaVA's YAML: datasets of json_path and sampling_strategy.

  A strategy is all, or first, random or end with a number or a share: first:10,
  random:5%. Shares are rounded up. Relative paths start from the YAML's folder.

  Attributes:
    name: the file's, without its suffix.
    fingerprint: changes when the data, a strategy or the seed does.

  Args:
    path: file.
    images: where the image paths of all datasets start from.
    seed: decides random choices, which depend on nothing else.
    mixtures: this one, and those that it is a dataset of.

  Raises:
    FileNotFoundError: a dataset is not there.
    ValueError: the file is not such a mixture, or has no records.
  """

  def __init__(
    self,
    path: pathlib.Path,
    images: image_paths.Folder = image_paths.Folder(),
    seed: int = 0,
    mixtures: tuple[pathlib.Path, ...] = (),
  ):
    self.name = path.stem
    self._parts: list[tuple[protocols.Source, range | np.ndarray]] = []
    facts = []
    for number, (name, strategy) in enumerate(_datasets(path)):
      where: pathlib.Path | str = name
      if not name.startswith(tuple(_NAMED)):
        where = _beside(path, name)
      source = _open(where, images, seed, mixtures)
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


def _beside(mixture: pathlib.Path, name: str) -> pathlib.Path:
  """The path of a dataset; a relative one starts from the mixture's folder."""
  path = paths.parse(name, f'{mixture}: json_path')
  return path if paths.in_bucket(path) else mixture.parent / name


_MIXTURE_BYTES = 1 << 22
_MIXTURE_KEYS = ('datasets',)
_DATASET_KEYS = ('json_path', 'sampling_strategy')
_EXPECTED = 'expected datasets, a list with json_path and sampling_strategy'


class _Loader(yaml.SafeLoader):
  """YAML in which no key stands twice: it would take the last."""

  def construct_mapping(
    self, node: yaml.MappingNode, deep: bool = False
  ) -> dict[Any, Any]:
    mapping = super().construct_mapping(node, deep)
    if len(mapping) < len(node.value):
      keys = [key.value for key, _ in node.value]
      repeated = next(key for key in keys if keys.count(key) > 1)
      line = node.start_mark.line + 1
      raise yaml.YAMLError(f'key "{repeated}" stands twice from line {line} on')
    return mapping


def _datasets(path: pathlib.Path) -> list[tuple[str, str]]:
  """(json_path, sampling_strategy) of a mixture's datasets."""
  try:
    text = paths.read(path, _MIXTURE_BYTES).decode('utf-8')
    mixture = yaml.load(text, _Loader)  # a SafeLoader
  except (yaml.YAMLError, ValueError, RecursionError) as e:
    problem = ' '.join(str(e).split())
    raise ValueError(f'{path}: {problem}; {_EXPECTED}') from None
  _check_keys(f'{path}', mixture, _MIXTURE_KEYS)
  datasets = mixture['datasets']
  if not isinstance(datasets, list):
    kind = type(datasets).__name__
    raise ValueError(f'{path}: datasets are {kind}; {_EXPECTED}')
  for number, dataset in enumerate(datasets, start=1):
    where = f'{path}: dataset {number}'
    _check_keys(where, dataset, _DATASET_KEYS)
    if not isinstance(dataset['json_path'], str):
      raise ValueError(f'{where}: json_path is {dataset["json_path"]!r}')
  return [
    (d['json_path'], str(d.get('sampling_strategy', 'all'))) for d in datasets
  ]


def _check_keys(where: str, fields: object, keys: tuple[str, ...]) -> None:
  """Raises a ValueError unless there is the first of some keys, and no other.

  A misspelt key would be a choice that nobody takes.
  """
  if not isinstance(fields, dict):
    raise ValueError(f'{where} is {type(fields).__name__}; {_EXPECTED}')
  unknown = [str(key) for key in fields if key not in keys]
  if unknown:
    raise ValueError(
      f'{where} has the unknown key {", ".join(unknown)}; keys are '
      f'{", ".join(keys)}'
    )
  if keys[0] not in fields:
    raise ValueError(f'{where} has no {keys[0]}; {_EXPECTED}')


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

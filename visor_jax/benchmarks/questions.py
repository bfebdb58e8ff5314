"""The questions of a benchmark, from files as the hub serves them, or shards.

FOLDER/docvqa/DocVQA/validation-00000-of-00006.parquet ...
FOLDER/mme/shard-00000-of-00001.array_record, shards.json ...
"""

from collections.abc import Mapping
import pathlib
import re
from typing import Any

from visor_jax.benchmarks import record as record_lib
from visor_jax.data import protocols
from visor_jax.data.sources import fingerprints as fingerprints_lib
from visor_jax.data.sources import llava
from visor_jax.data.sources import numbered_files
from visor_jax.data.sources import records
from visor_jax.data.sources import shards as shards_lib
from visor_jax.data.sources import tables
from visor_jax.runtime import paths


class Questions:
  """A benchmark's table as records: a prompt, and as its answer what is right.

  Args:
    benchmark: the record of the benchmark.
    rules: name of the rules by which prompts are made; it stands in the
      records, because a shard outlives its rules.
    folder: folder of its files; those of other configurations and splits may
      lie beside.

  Attributes:
    name: the benchmark's.
    stamp: benchmark and rules, the family of every turn.
    fingerprint: changes when the data or the rules do.

  Raises:
    FileNotFoundError: there is no file of it.
    ValueError: a file is broken or lacks a column.
  """

  def __init__(
    self,
    benchmark: record_lib.Benchmark,
    rules: str,
    folder: pathlib.Path | str,
  ):
    self.name, self._benchmark = benchmark.name, benchmark
    self.stamp = stamp(benchmark, rules)
    self._table = tables.Table(
      _files(folder, benchmark.config, benchmark.split),
      benchmark.columns + benchmark.image_columns,
    )
    fingerprints = [self._table.fingerprint]
    self._images: tables.Table | None = None
    if benchmark.joined:
      self._image_column, config = benchmark.joined
      self._images = tables.Table(
        _files(folder, config, benchmark.split), ('id', 'image')
      )
      ids = self._images.column('id')
      self._row_of_image = {id_: row for row, id_ in enumerate(ids)}
      fingerprints.append(self._images.fingerprint)
    self.fingerprint = fingerprints_lib.digest(self.stamp, *fingerprints)

  def __len__(self) -> int:
    return len(self._table)

  def __getitem__(self, index: int) -> records.Record:
    fields, name = self._table[index], f'{self.name}/{index}'
    try:
      files, sizes = llava.encoded_images(self._images_of(fields, name))
    except records.BadRecord as e:
      raise e.named(name) from None
    turn = records.Turn(
      self._benchmark.ask(fields), self._benchmark.key(fields), self.stamp
    )
    return records.Record(name, files, sizes, (turn,))

  def outline(self, index: int) -> records.Record:
    """The record itself: sizes are known by the images alone."""
    return self[index]

  def _images_of(self, fields: Mapping[str, Any], name: str) -> list[Any]:
    """The images of a question, as the tables hold them."""
    if self._images is None:
      return self._benchmark.images(fields)
    id_ = fields[self._image_column]
    if id_ not in self._row_of_image:
      raise records.BadRecord(
        'missing image', f'{self._image_column} {id_}', name
      )
    return [self._images[self._row_of_image[id_]]['image']]


def stamp(benchmark: record_lib.Benchmark, rules: str) -> str:
  """The family of a benchmark's turns in shards."""
  return f'{benchmark.name} by {rules}'


def _files(
  folder: pathlib.Path | str, config: str, split: str
) -> list[pathlib.Path]:
  """Parquet files of a configuration and split, wherever below the folder.

  Files whose names speak of no split are taken as they are.

  Raises:
    FileNotFoundError: there are none.
    ValueError: some of them are missing.
  """
  folder = paths.parse(folder)
  every = sorted(folder.rglob('*.parquet'))
  of_config = [
    file for file in every if config in file.relative_to(folder).parts
  ] or [
    file
    for file in every
    if not config or file.parent in (folder, folder / 'data')
  ]
  of_split = [
    file for file in of_config if re.match(rf'{split}[-.]', file.name)
  ]
  if of_split:
    numbered_files.check(of_split)
    return of_split
  if of_config and not any('-of-' in file.name for file in of_config):
    return of_config
  inner = f'{config}/' if config else ''
  raise FileNotFoundError(
    f'{folder} has no {inner}{split}-*.parquet and no shards; put them '
    'there as the hub serves them, or set eval.data to the folder that '
    'holds a folder for each benchmark'
  )


def open_questions(
  benchmark: record_lib.Benchmark, rules: str, folder: pathlib.Path | str
) -> protocols.Source:
  """The questions of a benchmark, from shards if there are any.

  Args:
    benchmark: the record of the benchmark.
    rules: name of the rules by which prompts are made.
    folder: folder with a folder for each benchmark.

  Raises:
    FileNotFoundError: there is no file of it.
    ValueError: the files are not its, broken, or of other rules.
  """
  folder = paths.parse(folder, 'eval.data') / benchmark.name
  files = sorted(folder.glob('*.array_record'))
  if not files:
    return Questions(benchmark, rules, folder)
  shards, expected = shards_lib.Shards(files), stamp(benchmark, rules)
  actual = shards.outline(0).turns[0].family
  if actual != expected:
    raise ValueError(
      f'{folder}: its shards are of {actual}, not of {expected}; write them '
      'again'
    )
  return shards

"""Benchmarks from local files to questions that a model can be asked.

A benchmark's files are found as the hub serves them, or as shards, and its
questions become rows.

  FOLDER/docvqa/DocVQA/validation-00000-of-00006.parquet ...
  FOLDER/mme/shard-00000-of-00001.array_record, shards.json ...
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import functools
import pathlib
import re
from typing import Any

from visor_jax.benchmarks import record as record_lib
from visor_jax.data import fits
from visor_jax.data import protocols
from visor_jax.data.pipeline import examine
from visor_jax.data.pipeline import stream as stream_lib
from visor_jax.data.processing import packing
from visor_jax.data.processing import processed
from visor_jax.data.sources import fingerprints as fingerprints_lib
from visor_jax.data.sources import llava
from visor_jax.data.sources import numbered_files
from visor_jax.data.sources import records
from visor_jax.data.sources import shards as shards_lib
from visor_jax.data.sources import tables
from visor_jax.runtime import paths
from visor_jax.spec import batch as batch_lib


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


class Suite:
  """Questions of one benchmark: a protocols.Suite with nothing to learn from.

  Args:
    benchmark: the record of the benchmark.
    source: its questions, see `open_questions`.
    processor: what the checkpoint makes of words and images.
    prompt: slots of a question, {text, visual, tiles}.
    max_new_tokens: tokens of an answer at most, whatever the benchmark allows.

  Attributes:
    answer_tokens: tokens of an answer at most.
    ends: ids of the tokens that end an answer.
    rules: what else decides which token comes next.
    original: the same of images as they are.
  """

  def __init__(
    self,
    benchmark: record_lib.Benchmark,
    source: protocols.Source,
    processor: protocols.Processor,
    *,
    prompt: Mapping[str, int],
    max_new_tokens: int,
  ):
    self._benchmark, self._source = benchmark, source
    self._processor = processor
    self._prompt, self._shape = prompt, processor.row_shape(**prompt)
    self.original: Suite = self
    self._fits = functools.cache(self._new_fit)
    self.answer_tokens = min(benchmark.max_new_tokens, max_new_tokens)
    tokenizer = processor.tokenizer
    self.ends: tuple[int, ...] = (tokenizer.end, *sorted(tokenizer.stops))
    self.rules = tokenizer.rules

  def reprocessed(
    self, change: Callable[[protocols.Processor], protocols.Processor]
  ) -> 'Suite':
    """The same questions, of images as another processor has them."""
    suite = Suite(
      self._benchmark,
      self._source,
      change(self._processor),
      prompt=self._prompt,
      max_new_tokens=self.answer_tokens,
    )
    suite.original = self
    return suite

  def __len__(self) -> int:
    return len(self._source)

  @property
  def fingerprints(self) -> dict[str, str]:
    """{name of the data: its fingerprint}."""
    return {f'eval/{self._benchmark.name}': self._source.fingerprint}

  @property
  def counts(self) -> dict[str, int]:
    """Empty: a question that cannot be asked is an error."""
    return {}

  def training(self, stream: str) -> protocols.Load:
    """A benchmark is not learned from.

    Raises:
      ValueError: always.
    """
    raise ValueError(
      f'{stream} cannot train on {self._benchmark.name}, which is the test'
    )

  def record_ids(self, stream: str, index: int) -> tuple[str, ...]:
    """The id of a question."""
    return (self._source.outline(index).id,)

  def prompt(
    self, stream: str, index: int
  ) -> tuple[batch_lib.Row, records.Record]:
    """A question alone, and its record, whatever the name of the stream.

    Raises:
      fits.TooLong: it needs more slots than there are.
      ValueError: it is broken; without it, it would be another benchmark.
    """
    record, name = self._source[index], self._benchmark.name
    turn = dataclasses.replace(record.turns[0], family=name)
    try:
      conversation = self._conversation(record)
      fits.require(
        stream_lib.slots_of(conversation, record.sizes, self._processor),
        self._shape,
      )
      segment = stream_lib.segment_of(record, conversation, self._processor)
      row = packing.row([segment], self._shape)
    except fits.TooLong:
      raise
    except ValueError as e:
      raise ValueError(f'question {index} of {name}: {e}') from e
    return row, dataclasses.replace(record, turns=(turn,))

  def fit(self, stream: str, count: int) -> fits.Fit:
    """Which of the first `count` questions can be asked; reads all of them.

    Raises:
      ValueError: one is broken.
    """
    return self._fits(count)

  def _new_fit(self, count: int) -> fits.Fit:
    def examine_one(index: int) -> dict[str, int]:
      record = self._source[index]
      conversation = self._conversation(record)
      examine.require_images(record, len(record.sizes), self._processor)
      return stream_lib.slots_of(conversation, record.sizes, self._processor)

    name, needed = self._benchmark.name, {}
    total = min(count, len(self))
    for index, result in enumerate(examine.examined(examine_one, total, name)):
      if isinstance(result, ValueError):
        raise ValueError(f'question {index} of {name}: {result}') from result
      needed[index] = result
    return fits.fit(name, count, needed, self._shape)

  def _conversation(self, record: records.Record) -> processed.Conversation:
    return self._processor.tokenizer.prompt(
      record.turns[0].question, len(record.sizes)
    )

  def decode(self, ids: Iterable[int]) -> str:
    """An answer's text."""
    return self._processor.tokenizer.decode(ids)

  def group(self, family: str) -> str:
    """'coarse' or 'fine', of whatever family: the benchmark has one."""
    return self._benchmark.group

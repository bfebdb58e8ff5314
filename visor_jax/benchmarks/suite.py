"""Benchmarks from local files to questions that a model can be asked.

What a benchmark is comes from elsewhere, as a record with the attributes of
eval.benchmarks.Benchmark; here its files are found, as the hub serves them or
as shards, and its questions become rows.

  FOLDER/docvqa/DocVQA/validation-00000-of-00006.parquet ...
  FOLDER/mme/shard-00000-of-00001.array_record, shards.json ...
"""

import dataclasses
import pathlib
import re

from visor_jax.data.processing import chat
from visor_jax.data.processing import images
from visor_jax.data.processing import packing
from visor_jax.data.processing import text
from visor_jax.data.sources import records
from visor_jax.data.sources import shards as shards_lib
from visor_jax.data.sources import tables


class Questions:
  """A benchmark's table as records: a prompt, and as its answer what is right.

  Args:
    record: the benchmark.
    rules: by which prompts are made; they are named in the records, because a
      shard outlives its rules.
    folder: of its files; those of other configurations and splits may lie
      beside.

  Raises:
    FileNotFoundError: there is no file of it.
    ValueError: a file is broken or lacks a column.
  """

  def __init__(self, record, rules: str, folder):
    self.name, self._record = record.name, record
    self.stamp = stamp(record, rules)
    self._table = tables.Table(
      _files(folder, record.config, record.split),
      record.columns + record.images,
    )
    facts, self._pictures = [self._table.fingerprint], None
    if record.joined:
      self._pictures = tables.Table(
        _files(folder, record.joined[1], record.split), ('id', 'image')
      )
      ids = self._pictures.column('id')
      self._place = {name: place for place, name in enumerate(ids)}
      facts.append(self._pictures.fingerprint)
    self.fingerprint = shards_lib.digest(self.stamp, *facts)

  def __len__(self):
    return len(self._table)

  def __getitem__(self, index: int) -> records.Raw:
    fields, name = self._table[index], f'{self.name}/{index}'
    if self._pictures is None:
      pictures = self._record.pictures(fields)
    else:
      column, _ = self._record.joined
      if fields[column] not in self._place:
        raise records.BadRecord(
          'missing image', f'{column} {fields[column]}', name
        )
      pictures = [self._pictures[self._place[fields[column]]]['image']]
    try:
      files = tuple(records.picture(p) for p in pictures)
      sizes = tuple(map(records.size, files))
    except records.BadRecord as e:
      raise records.BadRecord(e.reason, e.detail, name) from None
    return records.Raw(
      name,
      files,
      sizes,
      (
        chat.Turn(
          self._record.ask(fields), self._record.key(fields), self.stamp
        ),
      ),
    )


def stamp(record, rules: str) -> str:
  """The family of a benchmark's turns in shards."""
  return f'{record.name} by {rules}'


def _files(folder, config, split):
  """Parquet files of a configuration and split, wherever below the folder.

  Files whose names speak of no split are taken as they are.
  """
  folder = pathlib.Path(folder)
  every = sorted(folder.rglob('*.parquet'))
  found = [f for f in every if config in f.relative_to(folder).parts] or [
    f for f in every if not config or f.parent in (folder, folder / 'data')
  ]
  some = [f for f in found if re.match(rf'{split}[-.]', f.name)]
  if not some and not any('-of-' in f.name for f in found):
    some = found
  if not some:
    inner = f'{config}/' * bool(config)
    raise FileNotFoundError(
      f'{folder} has no {inner}{split}-*.parquet and no shards; put them '
      'there as the hub serves them, or set eval.data to the folder that '
      'holds a folder for each benchmark'
    )
  return some


def open_questions(record, rules: str, folder):
  """The questions of a benchmark, from shards if there are some.

  Args:
    record: the benchmark.
    rules: by which prompts are made.
    folder: with a folder for each benchmark.

  Raises:
    FileNotFoundError: there is no file of it.
    ValueError: the files are not its, broken, or of other rules.
  """
  folder = pathlib.Path(folder) / record.name
  files = sorted(folder.glob('*.array_record'))
  if not files:
    return Questions(record, rules, folder)
  found, want = shards_lib.Shards(files), stamp(record, rules)
  have = found.outline(0).turns[0].family
  if have != want:
    raise ValueError(
      f'{folder}: its shards are of {have}, not of {want}; write them again'
    )
  return found


class Suite:
  """Questions of one benchmark, as evaluation asks for them.

  Args:
    record: the benchmark.
    source: of open_questions.
    tokenizer: the checkpoint's.
    recipe: how it cuts images.
    prompt: slots of a question, {text, visual, tiles}.
    tokens: of an answer at most, whatever the benchmark allows.
  """

  def __init__(
    self,
    record,
    source,
    tokenizer: text.Tokenizer,
    recipe: images.Recipe,
    *,
    prompt,
    tokens: int,
  ):
    self._record, self._source = record, source
    self._text, self._recipe = tokenizer, recipe
    self._shape = packing.Shape(
      **prompt,
      prompts=1,
      tile=(self._recipe.tile,) * 2,
      taps=4,
      patches=self._recipe.patches,
    )
    self.answer_tokens = min(record.tokens, tokens)
    self.ends = (self._text.end, *sorted(self._text.stops))

  def __len__(self):
    return len(self._source)

  @property
  def fingerprints(self) -> dict[str, str]:
    return {f'eval/{self._record.name}': self._source.fingerprint}

  def prompt(self, stream: str, index: int):
    """A question alone, whatever the name of the stream.

    Returns:
      (fields of a Batch's row, its records.Raw).

    Raises:
      ValueError: the question is broken or too long. None is left out, because
        the number would be of another benchmark.
    """
    raw, name = self._source[index], self._record.name
    turn = dataclasses.replace(raw.turns[0], family=name)
    try:
      talk = self._text.prompt(turn.question, len(raw.images))
      plans = images.plans(self._recipe, raw.sizes)
      opened = [images.open_image(i) for i in raw.images]
      row = packing.row([packing.pictured(talk, opened, plans)], self._shape)
    except ValueError as e:
      raise ValueError(
        f'question {index} of {name}: {e}; slots are set by data.prompt'
      ) from e
    return row, dataclasses.replace(raw, turns=(turn,))

  def decode(self, ids) -> str:
    """An answer's text."""
    return self._text.decode(ids)

  def group(self, family: str) -> str:
    """'coarse' or 'fine'."""
    return self._record.group

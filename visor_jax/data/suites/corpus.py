"""Conversations from sources, as stages and evaluation ask for them.

The counterpart of digits.Suite for a checkpoint's own words and images. Which
records a row or a question is made of is a pure function of (seed, stream,
number), see `order`.
"""

import collections
import dataclasses
import functools
import pathlib

from visor_jax.data.pipeline import bin_packing as windows_lib
from visor_jax.data.pipeline import order as order_lib
from visor_jax.data.pipeline import stream as stream_lib
from visor_jax.data.processing import chat
from visor_jax.data.processing import images
from visor_jax.data.processing import packing
from visor_jax.data.processing import text
from visor_jax.data.sources import readers as sources_lib

TRIES = 100  # records looked at for a question, where one after another is bad


class Corpus:
  """What loaders and evaluation ask for.

  Args:
    seed: of the run.
    mixtures: {stream: ((name, path, weight), ...)}; paths as open_source takes
      them.
    folder: with the checkpoint's tokenizer and its recipe of images.
    row: slots that conversations share, {text, visual, tiles, prompts}.
    prompt: those of a question asked alone, {text, visual, tiles}.
    window: conversations that are packed together.
    bad: share of bad records at which a run stops.
    tokens: of an answer at most.
    coarse: names of the sources that are coarse.

  Raises:
    ValueError: a source is not there or is not one, or the folder lacks a file.
  """

  packed = True

  def __init__(
    self,
    seed: int,
    mixtures,
    folder,
    *,
    row,
    prompt,
    window: int,
    bad: float,
    tokens: int,
    coarse=(),
  ):
    self._seed, self._mixtures, self._window = seed, mixtures, window
    self._text, self._recipe = text.Tokenizer(folder), images.read(folder)
    slots = dict(
      tile=(self._recipe.tile,) * 2, patches=self._recipe.patches, taps=4
    )
    self._row = packing.Shape(**row, **slots)
    self._prompt = packing.Shape(**prompt, prompts=1, **slots)
    self._bad, self._coarse = bad, tuple(coarse)
    self._tallies, self._packed = [], []
    self._asked = self._tally()
    self._order = functools.cache(self._order)
    self.answer_tokens = tokens
    self.ends = (self._text.end, *sorted(self._text.stops))
    opened = functools.cache(_open)
    self._sources = {
      stream: [Named(opened(name, path), name) for name, path, _ in mixture]
      for stream, mixture in mixtures.items()
    }

  @property
  def fingerprints(self) -> dict[str, str]:
    """{stream/source: what changes when its data does}."""
    return {
      f'{stream}/{s.name}': s.fingerprint
      for stream, some in self._sources.items()
      for s in some
    }

  @property
  def counts(self) -> dict[str, int]:
    """How many records were not used as they are, and why; none that are 0."""
    found = collections.Counter()
    for packed in self._packed:
      found.update(packed.counts)
    # What is planned is counted by its window.
    found['bad'] += sum(t.bad.total() for t in self._tallies)
    return {name: n for name, n in found.items() if n}

  def training(self, stream: str):
    """A `load` of packed rows, see `loader`."""
    order, sources = self._order(stream), self._sources[stream]
    planned = stream_lib.BadRecordCounter(self._bad)
    needs = stream_lib.lengths(sources, self._text, self._recipe, planned)
    rows = windows_lib.rows_for(order, needs, self._row, self._window)
    packed = windows_lib.Windows(order, needs, self._row, self._window, rows)
    self._packed.append(packed)
    return stream_lib.training(
      packed, sources, self._text, self._recipe, self._tally()
    )

  def prompt(self, stream: str, index: int):
    """A question alone; where its record is bad, another one's.

    Returns:
      (fields of a Batch's row, its records.Raw).

    Raises:
      ValueError: one record after another is bad.
    """
    for attempt in range(TRIES):
      draw = self._order(stream, attempt).draw(index)
      source = self._sources[stream][draw.source]
      try:
        raw = source[draw.index]
        row = packing.row(
          [stream_lib.prompt(raw, self._text, self._recipe)], self._prompt
        )
      except ValueError as e:
        self._asked.count(source.name, e)
        last = e
      else:
        self._asked.count(source.name)
        return row, raw
    raise ValueError(
      f'{stream}: {TRIES} records drawn for question {index} '
      f'cannot be used, the last: {last}'
    )

  def decode(self, ids) -> str:
    """An answer's text."""
    return self._text.decode(ids)

  def group(self, family: str) -> str:
    """'coarse' or 'fine'."""
    return 'coarse' if family in self._coarse else 'fine'

  def _order(self, stream, attempt=0):
    mixture = self._mixtures[stream]
    key = f'{self._seed}/{stream}' + f'/{attempt}' * (attempt > 0)
    return order_lib.Order(
      key,
      [len(s) for s in self._sources[stream]],
      [weight for _, _, weight in mixture],
    )

  def _tally(self):
    self._tallies.append(stream_lib.BadRecordCounter(self._bad))
    return self._tallies[-1]


@dataclasses.dataclass(frozen=True)
class Named:
  """A source under the name that the config gives it."""

  source: object
  name: str

  def __len__(self):
    return len(self.source)

  @property
  def fingerprint(self):
    return self.source.fingerprint

  def __getitem__(self, index):
    return self._named(self.source[index])

  def outline(self, index):
    return self._named(self.source.outline(index))

  def _named(self, raw):
    return dataclasses.replace(
      raw,
      turns=tuple(
        chat.Turn(t.question, t.answer, self.name) for t in raw.turns
      ),
    )


def _open(name, path):
  try:
    return sources_lib.open_source(path)
  except (OSError, ValueError) as e:
    raise ValueError(f'source "{name}": {e}') from e


def open_corpus(config, jobs) -> Corpus:
  """The corpus of a config, with the sources that some jobs need.

  Args:
    config: the whole config.
    jobs: names of them.

  Raises:
    ValueError: naming the key that is missing or the source that is wrong.
  """
  data = config.data
  folder = pathlib.Path(config.model.init_from) / 'hf'
  if not config.model.init_from or not folder.exists():
    raise ValueError(
      'data.sources need the tokenizer of a checkpoint, but model.init_from is '
      f'"{config.model.init_from}"; set it to what python -m visor_jax.convert '
      'import has written'
    )
  mixtures = {}
  for job in jobs:
    if job in ('search', 'label', 'policy'):
      mixtures['search' if job == 'search' else 'label'] = data.sources
    elif job == 'eval':
      if config.eval.benchmarks:
        continue
      if not config.eval.sources:
        raise ValueError(
          'eval.sources is empty: which questions are the test? '
          'Name sources or eval.benchmarks, or leave out the '
          'eval stage'
        )
      mixtures['test'] = config.eval.sources
    elif job != 'report':
      mixtures[job] = config[job].sources or data.sources
  for stream, mixture in mixtures.items():
    if not mixture:
      raise ValueError(
        f'{stream} has no data: set data.sources to ((name, path, weight), ...)'
      )
  return Corpus(
    config.seed,
    mixtures,
    folder,
    row=data.packed,
    prompt=data.prompt,
    window=data.window,
    bad=data.max_bad_fraction,
    tokens=config.eval.max_new_tokens,
    coarse=config.eval.coarse,
  )

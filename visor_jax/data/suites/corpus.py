"""Conversations from sources, as stages and evaluation ask for them.

The counterpart of digits.Suite for a checkpoint's own words and images. Which
records a row or a question is made of is a pure function of (seed, stream,
number), see `order`.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools

from visor_jax.data import fits
from visor_jax.data import protocols
from visor_jax.data.pipeline import bad_share
from visor_jax.data.pipeline import bin_packing
from visor_jax.data.pipeline import examine
from visor_jax.data.pipeline import order as order_lib
from visor_jax.data.pipeline import stream as stream_lib
from visor_jax.data.sources import records
from visor_jax.spec import batch as batch_lib


@dataclasses.dataclass(frozen=True)
class NamedSource:
  """A source under the name that the config gives it.

  Attributes:
    source: the records.
    name: the name, which becomes the family of their turns.
  """

  source: protocols.Source
  name: str

  def __len__(self) -> int:
    return len(self.source)

  @property
  def fingerprint(self) -> str:
    return self.source.fingerprint

  def __getitem__(self, index: int) -> records.Record:
    return self._named(self.source[index])

  def outline(self, index: int) -> records.Record:
    """The source's own, under the name."""
    return self._named(self.source.outline(index))

  def _named(self, record: records.Record) -> records.Record:
    turns = tuple(
      dataclasses.replace(turn, family=self.name) for turn in record.turns
    )
    return dataclasses.replace(record, turns=turns)


@dataclasses.dataclass(frozen=True)
class Mixture:
  """Sources that a stream draws from.

  Attributes:
    sources: in order; their names are the families of their turns.
    weights: share of the draws of each, in any unit.
  """

  sources: tuple[protocols.Source, ...]
  weights: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Settings:
  """What decides the rows of a corpus beside its records.

  Attributes:
    packed: {text, visual, tiles, prompts}, slots that conversations share.
    prompt: {text, visual, tiles}, slots of a question asked alone.
    window: conversations that are packed together.
    max_bad_fraction: share of bad records at which a run stops.
    answer_tokens: the most tokens of an answer.
    coarse: names of the sources that are coarse.
    planners: processes that plan rows, which they do not decide; 0 for this.
  """

  packed: Mapping[str, int]
  prompt: Mapping[str, int]
  window: int
  max_bad_fraction: float
  answer_tokens: int
  coarse: Sequence[str] = ()
  planners: int = 0


class Corpus:
  """Rows and questions out of sources; a protocols.Suite.

  Args:
    seed: decides the draws of every stream.
    mixtures: {stream: what it draws from}.
    processor: what the checkpoint makes of words and images.
    settings: what else decides the rows.

  Attributes:
    original: the same of images as they are.
  """

  def __init__(
    self,
    seed: int,
    mixtures: Mapping[str, Mixture],
    processor: protocols.Processor,
    settings: Settings,
  ):
    self._seed, self._mixtures = seed, mixtures
    self.original: Corpus = self
    self._processor, self._settings = processor, settings
    self._shape = processor.row_shape(**settings.packed)
    self._prompt_shape = processor.row_shape(**settings.prompt)
    self._counters: list[bad_share.BadRecordCounter] = []
    self._windows: dict[str, bin_packing.Windows] = {}
    self._pass = functools.cache(self._new_pass)
    self._fits = functools.cache(self._new_fit)
    self._examined = functools.cache(self._examine)
    tokenizer = processor.tokenizer
    self.answer_tokens = settings.answer_tokens
    self.ends = (tokenizer.end, *sorted(tokenizer.stops))
    self.rules = tokenizer.rules

  @functools.cached_property
  def _measure(self) -> Callable[[str], stream_lib.Measure]:
    """Who measures the draws of a stream; only training asks."""
    mixtures = self._mixtures.items()
    return stream_lib.measure(
      {stream: mixture.sources for stream, mixture in mixtures},
      self._processor,
      self._settings.planners,
    )

  def reprocessed(
    self, change: Callable[[protocols.Processor], protocols.Processor]
  ) -> 'Corpus':
    """The same questions, of images as another processor has them."""
    processor = change(self._processor)
    corpus = Corpus(self._seed, self._mixtures, processor, self._settings)
    corpus.original = self
    return corpus

  @property
  def fingerprints(self) -> dict[str, str]:
    """{stream/source: what changes when its data does}."""
    return {
      f'{stream}/{source.name}': source.fingerprint
      for stream, mixture in self._mixtures.items()
      for source in mixture.sources
    }

  @property
  def counts(self) -> dict[str, int]:
    """{reason: records that were not used as they are}; none that are 0."""
    counts: collections.Counter[str] = collections.Counter()
    for windows in self._windows.values():
      counts.update(windows.counts)
    # What is planned is counted by its window.
    counts['bad'] += sum(counter.bad.total() for counter in self._counters)
    return {reason: count for reason, count in counts.items() if count}

  def training(self, stream: str) -> protocols.Load:
    """A `load` of packed rows, see `loader`."""
    mixture, draws = self._mixture(stream), self._settings.window
    sources = mixture.sources
    order = order_lib.Order(
      f'{self._seed}/{stream}', map(len, sources), mixture.weights
    )

    measure = self._measure(stream)

    def lengths() -> bin_packing.Lengths:
      counter = bad_share.BadRecordCounter(self._settings.max_bad_fraction)
      return stream_lib.lengths(sources, measure, counter)

    # Each has a counter: the windows that rows are measured by come again.
    rows = bin_packing.rows_for(order, lengths(), self._shape, draws)
    windows = bin_packing.Windows(order, lengths(), self._shape, draws, rows)
    self._windows[stream] = windows
    return stream_lib.training(
      windows, sources, self._processor, self._counter()
    )

  def record_ids(self, stream: str, index: int) -> tuple[str, ...]:
    """SOURCE: ID of the records behind a row to learn from, or a question."""
    if stream in self._windows:
      sources = self._mixture(stream).sources
      pieces = self._windows[stream].row(index)
      drawn = [(sources[p.draw.source], p.draw.index) for p in pieces]
    else:
      drawn = [self._drawn(stream, index)]
    return tuple(
      f'{source.name}: {source.outline(at).id}' for source, at in drawn
    )

  def prompt(
    self, stream: str, index: int
  ) -> tuple[batch_lib.Row, records.Record]:
    """A question alone.

    Returns:
      (fields of a Batch's row, its record).

    Raises:
      fits.TooLong: it needs more slots than there are.
      ValueError: the stream has not so many, or the record is broken.
    """
    total = len(self._pass(stream))
    if not 0 <= index < total:
      raise ValueError(
        f'{stream} has {total} questions; there is no number {index}'
      )
    source, at = self._drawn(stream, index)
    record = source[at]
    return stream_lib.question_row(
      record, self._processor, self._prompt_shape
    ), record

  def fit(self, stream: str, count: int) -> fits.Fit:
    """Which of the first `count` questions of a stream can be asked."""
    return self._fits(stream, count)

  def _new_fit(self, stream: str, count: int) -> fits.Fit:
    needed, broken, repeated = {}, {}, []
    asked: set[int] = set()  # hashes: records may hold their images
    counter = bad_share.BadRecordCounter(self._settings.max_bad_fraction)
    total = min(count, len(self._pass(stream)))
    examine_one = functools.partial(self._examined, stream)
    for index, result in enumerate(
      examine.examined(examine_one, total, stream)
    ):
      source, _ = self._drawn(stream, index)
      if isinstance(result, ValueError):
        counter.count(source.name, result)
        broken[index] = str(result)
        continue
      counter.count(source.name)
      identity, needed[index] = result
      if identity in asked:  # a mixture may have a dataset twice
        repeated.append(index)
      asked.add(identity)
    return fits.fit(
      stream, count, needed, self._prompt_shape, broken, tuple(repeated)
    )

  def _examine(self, stream: str, index: int) -> tuple[int, dict[str, int]]:
    """(what tells its record from others, slots) of a question."""
    source, at = self._drawn(stream, index)
    outline = source.outline(at)
    slots, images = stream_lib.question_outline(outline, self._processor)
    if images:  # some sources have them in their outlines
      record = outline if outline.images else source[at]
      examine.require_images(record, images, self._processor)
    return hash(outline), slots

  def _drawn(self, stream: str, number: int) -> tuple[protocols.Source, int]:
    """(source, index in it) of a draw of a stream of questions."""
    draw = self._pass(stream).draw(number)
    return self._mixture(stream).sources[draw.source], draw.index

  def decode(self, ids: Iterable[int]) -> str:
    """An answer's text."""
    return self._processor.tokenizer.decode(ids)

  def group(self, family: str) -> str:
    """'coarse' or 'fine'."""
    return 'coarse' if family in self._settings.coarse else 'fine'

  def _mixture(self, stream: str) -> Mixture:
    if stream not in self._mixtures:
      raise ValueError(
        f'stream "{stream}" has no sources; opened were '
        f'{", ".join(self._mixtures)}'
      )
    return self._mixtures[stream]

  def _new_pass(self, stream: str) -> order_lib.OnePass:
    mixture = self._mixture(stream)
    return order_lib.OnePass(
      f'{self._seed}/{stream}', map(len, mixture.sources), mixture.weights
    )

  def _counter(self) -> bad_share.BadRecordCounter:
    """A counter that `counts` sums up."""
    counter = bad_share.BadRecordCounter(self._settings.max_bad_fraction)
    self._counters.append(counter)
    return counter

"""Benchmarks whose questions become rows, for a model to be asked."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import functools

from visor_jax.benchmarks import record as record_lib
from visor_jax.data import fits
from visor_jax.data import protocols
from visor_jax.data.pipeline import examine
from visor_jax.data.pipeline import stream as stream_lib
from visor_jax.data.processing import packing
from visor_jax.data.processing import processed
from visor_jax.data.sources import records
from visor_jax.spec import batch as batch_lib


class Suite:
  """Questions of one benchmark: a protocols.Suite with nothing to learn from.

  Args:
    benchmark: the record of the benchmark.
    source: its questions, see `questions.open_questions`.
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

"""What suites share that draw their images and ask about them.

An image and its conversation are a pure function of (seed, stream, index).
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import copy
import dataclasses
import hashlib

import numpy as np

from visor_jax.data import fits
from visor_jax.data import protocols
from visor_jax.data.processing import packing
from visor_jax.data.processing import processed
from visor_jax.data.sources import image_files
from visor_jax.data.sources import records
from visor_jax.data.suites import vocabulary
from visor_jax.spec import batch as batch_lib


def generator(seed: int, stream: str, index: int) -> np.random.Generator:
  """What all that is random about an image and its questions is drawn from."""
  key = hashlib.sha256(f'{seed}/{stream}/{index}'.encode()).digest()
  return np.random.default_rng(list(np.frombuffer(key[:16], np.uint32)))


@dataclasses.dataclass(frozen=True)
class Example:
  """An image and a conversation about it.

  Attributes:
    id: names it in errors and result rows.
    images: its tiles, uint8 [I, height, width, 3].
    turns: the conversation.
    shown: numbers of the visual tokens that the text may see, rising; None for
      all. The tower sees the whole image.
  """

  id: str
  images: np.ndarray
  turns: tuple[records.Turn, ...]
  shown: np.ndarray | None = None


def example(
  stream: str,
  index: int,
  images: np.ndarray,
  questions: Iterable[str],
  answer: Callable[[str], str],
) -> Example:
  """An image with questions, of which the first word is the family.

  Args:
    stream: that it is of.
    index: its number there.
    images: its tiles.
    questions: in order.
    answer: question -> the right answer.
  """
  turns = tuple(
    records.Turn(question, answer(question), question.split()[0])
    for question in map(str, questions)
  )
  return Example(name(stream, index), images, turns)


def name(stream: str, index: int) -> str:
  """Of what is drawn for a number of a stream."""
  return f'{stream}/{index}'


class Suite:
  """An image a row; a protocols.Suite but for what is drawn and asked.

  Attributes:
    words: the vocabulary of all questions and answers.
    original: the same of images as they are.

  Args:
    words: likewise.
    row_shape: number of questions -> slots of an image with so many.
    answer_tokens: the most tokens of an answer.
  """

  def __init__(
    self,
    words: vocabulary.Vocabulary,
    row_shape: Callable[[int], batch_lib.RowShape],
    answer_tokens: int,
  ):
    self.words, self._row_shape = words, row_shape
    self.answer_tokens = answer_tokens
    self.ends, self.rules = (words.end,), words.rules
    self.original: Suite = self
    self._processor: protocols.Processor | None = None  # of whole pictures

  def reprocessed(
    self, change: Callable[[protocols.Processor], protocols.Processor]
  ) -> 'Suite':
    """The same questions, of images as another processor has them.

    Args:
      change: makes it of the suite's.

    Raises:
      ValueError: as of `change`.
    """
    suite = copy.copy(self)
    suite._processor = change(self.processor)
    return suite

  def conversation(self, stream: str, index: int) -> Example:
    """An image and different questions about it, for training."""
    raise NotImplementedError

  def conversations(self, stream: str, index: int) -> Sequence[Example]:
    """What shares a row of training: that one, or several about its parts."""
    return [self.conversation(stream, index)]

  def question(self, stream: str, index: int) -> Example:
    """An image with one question."""
    raise NotImplementedError

  def group(self, family: str) -> str:
    """'coarse' or 'fine': whether a glance is enough for these questions."""
    raise NotImplementedError

  @property
  def processor(self) -> protocols.Processor:
    """What its models make of words and images."""
    raise NotImplementedError

  @property
  def turns(self) -> int:
    """The most questions of a conversation."""
    raise NotImplementedError

  @property
  def fingerprints(self) -> dict[str, str]:
    """Empty: nothing can change."""
    return {}

  @property
  def counts(self) -> dict[str, int]:
    """Empty: nothing is left out."""
    return {}

  @property
  def question_shape(self) -> batch_lib.RowShape:
    """Slots of a question."""
    return self._row_shape(1)

  def training(self, stream: str) -> protocols.Load:
    """A `load` of conversations, see `loader`."""

    def load(index: int) -> tuple[batch_lib.Row, None]:
      segments = [
        self._segment(drawn, self.words.conversation(drawn.turns))
        for drawn in self.conversations(stream, index)
      ]
      return packing.row(segments, self._row_shape(self.turns)), None

    return load

  def record_ids(self, stream: str, index: int) -> tuple[str, ...]:
    """The name that all that is drawn for a row has."""
    return (name(stream, index),)

  def prompt(self, stream: str, index: int) -> tuple[batch_lib.Row, Example]:
    """A question alone.

    Returns:
      (fields of a Batch's row, its image and question).
    """
    drawn = self.question(stream, index)
    prompt = self.words.prompt(drawn.turns[0].question)
    segment = self._segment(drawn, prompt)
    return packing.row([segment], self._row_shape(1)), drawn

  def fit(self, stream: str, count: int) -> fits.Fit:
    """All can be asked: images have no end, and one size."""
    slots = fits.row_slots(self._row_shape(1))
    return fits.Fit(stream, count, count, (), slots, slots)

  def decode(self, ids: Iterable[int]) -> str:
    """Words of an answer."""
    return self.words.decode(ids)

  def _segment(
    self, drawn: Example, conversation: processed.Conversation
  ) -> packing.Segment:
    patches = self._row_shape(1).patches
    plan = processed.PatchPlan(patches, len(drawn.images))
    cut: Sequence[processed.CutImage]
    cut = [processed.CutImage(drawn.images, plan)]
    if self._processor is not None:
      picture = image_files.picture(drawn.images)
      cut = self._processor.cut([picture], [(picture.height, picture.width)])
    (image,) = cut
    segment = packing.segment_of_images(
      conversation, [image.tiles], [image.plan], patches
    )
    return segment if drawn.shown is None else segment.showing(drawn.shown)

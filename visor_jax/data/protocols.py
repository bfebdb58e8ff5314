"""What data may be asked for, whatever stands behind it.

`Source` is a table of records; a `Processor` is what a checkpoint makes of
their words and images; a `Suite` makes rows to learn from and questions to
answer. There are four: suites.digits, suites.pages, suites.corpus and, of the
questions of a benchmark, benchmarks.suite.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import pathlib
from typing import Protocol
from typing import TypeAlias

import numpy as np
import PIL.Image

from visor_jax.data import fits
from visor_jax.data.processing import processed
from visor_jax.data.sources import records
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import generation

# A path, the bytes of a file, or an image that is open.
ImageLike: TypeAlias = pathlib.Path | str | bytes | PIL.Image.Image

# The fields of a Batch, or one entry of an array of what was made of a row.
Row: TypeAlias = batch_lib.Row | np.ndarray

# Number in the endless stream of rows -> the row, and an array that goes beside
# it (the label of a plan, int32 [1]) or None.
Load = Callable[[int], tuple[Row, np.ndarray | None]]


class Source(Protocol):
  """Records by their index, each read without the others.

  It can be pickled for a worker and read by many threads.

  Attributes:
    name: names it in errors and counts.
    fingerprint: changes when the data does.
  """

  @property
  def name(self) -> str: ...

  @property
  def fingerprint(self) -> str: ...

  def __len__(self) -> int: ...

  def __getitem__(self, index: int, /) -> records.Record:
    """The record at an index.

    Raises:
      records.BadRecord: it cannot be used.
      OSError: the disk failed, of which nothing follows for the record.
    """
    ...

  def outline(self, index: int) -> records.Record:
    """The same for who plans rows: its images may be missing.

    Raises:
      As `source[index]` does.
    """
    ...


class Tokenizer(Protocol):
  """Words to tokens and back, in the frame of a chat template.

  Attributes:
    end: the token that ends an answer.
    stops: all tokens at which an answer is over, `end` among them.
    rules: what else decides which token comes next.
    notes: what a person should know of its answers.
  """

  @property
  def end(self) -> int: ...

  @property
  def stops(self) -> frozenset[int]: ...

  @property
  def rules(self) -> generation.Rules: ...

  @property
  def notes(self) -> tuple[str, ...]: ...

  def conversation(
    self, turns: Sequence[records.Turn], images: int
  ) -> processed.Conversation:
    """Questions about so many images with their answers, for training.

    Raises:
      ValueError: the turns cannot be tokenized.
    """
    ...

  def prompt(
    self, question: str, images: int, system: str = ''
  ) -> processed.Conversation:
    """A question about so many images, up to where the answer begins.

    What the system says stands before it; '' for nothing.

    Raises:
      ValueError: the question cannot be tokenized.
    """
    ...

  def decode(self, ids: Iterable[int]) -> str:
    """The text of an answer's tokens, up to their end."""
    ...


class Processor(Protocol):
  """What a checkpoint makes of words and images.

  Attributes:
    tokenizer: its words and chat template.
    patches: P of a tile.
    original: the same of images as they are.
  """

  @property
  def tokenizer(self) -> Tokenizer: ...

  @property
  def patches(self) -> int: ...

  @property
  def original(self) -> 'Processor': ...

  def resized(self, side: int) -> 'Processor':
    """Of images whose longer side has at most so many pixels.

    Raises:
      ValueError: they cannot be made so small.
    """
    ...

  def pruned(self) -> 'Processor':
    """Of images without the tiles that their neighbours foretell.

    Raises:
      ValueError: tiles are more than visual tokens.
    """
    ...

  def row_shape(
    self, *, text: int, visual: int, tiles: int, prompts: int = 1
  ) -> batch_lib.RowShape:
    """Slots of a row, with tiles as this checkpoint has them."""
    ...

  def open_image(self, source: ImageLike) -> PIL.Image.Image:
    """An image in RGB.

    Raises:
      OSError: there is no such file, or it cannot be read.
      ValueError: it is not an image, or is broken.
    """
    ...

  def plans(
    self, sizes: Sequence[tuple[int, int]]
  ) -> Sequence[processed.ImagePlan]:
    """How the images of a sample, each (height, width), become tokens."""
    ...

  def cut(
    self,
    opened: Sequence[PIL.Image.Image],
    sizes: Sequence[tuple[int, int]],
  ) -> Sequence[processed.CutImage]:
    """What the images of a sample become; no more tokens than `plans` say.

    Args:
      opened: images in RGB, as of `open_image`.
      sizes: (height, width) that each should have.

    Raises:
      ValueError: an image is of another size.
    """
    ...


class Record(Protocol):
  """What is known of a question beside its row.

  Attributes:
    id: names it in errors and result rows.
    turns: the question, its right answer and its family come first.
  """

  @property
  def id(self) -> str: ...

  @property
  def turns(self) -> tuple[records.Turn, ...]: ...


class Suite(Protocol):
  """Rows to learn from and questions to answer.

  Everything it gives is a pure function of (seed, stream, index), whatever was
  asked before and by whom.

  Attributes:
    answer_tokens: the most tokens of an answer.
    ends: tokens at which an answer is over; the first of them is trained.
    rules: what else decides which token comes next.
    fingerprints: {stream/source: what changes when its data does}.
    counts: {reason: records that were not used as they are}, so far.
    original: the same of images as they are.
  """

  @property
  def answer_tokens(self) -> int: ...

  @property
  def ends(self) -> tuple[int, ...]: ...

  @property
  def rules(self) -> generation.Rules: ...

  @property
  def fingerprints(self) -> dict[str, str]: ...

  @property
  def counts(self) -> dict[str, int]: ...

  @property
  def original(self) -> 'Suite': ...

  def reprocessed(self, change: Callable[[Processor], Processor]) -> 'Suite':
    """The same questions, of images as another processor has them.

    Args:
      change: makes it of the suite's.

    Raises:
      ValueError: as of `change`.
    """
    ...

  def training(self, stream: str) -> Load:
    """Rows of a stream to learn from, for `loader.batches`.

    Raises:
      ValueError: there is nothing in it to learn from.
    """
    ...

  def record_ids(self, stream: str, index: int) -> tuple[str, ...]:
    """What names the records behind a row to learn from, or a question."""
    ...

  def prompt(self, stream: str, index: int) -> tuple[batch_lib.Row, Record]:
    """Question `index` of a stream alone: its row, and its record.

    Raises:
      fits.TooLong: it needs more slots than there are; `fit` says so before.
      ValueError: it cannot be asked, or the stream has not so many.
    """
    ...

  def fit(self, stream: str, count: int) -> fits.Fit:
    """Which of the first `count` questions of a stream can be asked.

    Raises:
      ValueError: one cannot be asked for another reason than its length.
    """
    ...

  def decode(self, ids: Iterable[int]) -> str:
    """The text of an answer's tokens, up to their end."""
    ...

  def group(self, family: str) -> str:
    """'coarse' or 'fine': whether a glance is enough for these questions."""
    ...

"""Questions asked alone, with the images that they are about.

What of them can be asked is known before any is: an image that does not decode
shows in no length, and should not end a job that trained for weeks before.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import concurrent.futures
import dataclasses
import os
from typing import TypeVar

from visor_jax.data import fits
from visor_jax.data import protocols
from visor_jax.data.pipeline import stream
from visor_jax.data.processing import packing
from visor_jax.data.processing import processed
from visor_jax.data.sources import records
from visor_jax.runtime import console
from visor_jax.spec import batch as batch_lib

T = TypeVar('T')

TOLD = 1000  # questions between two lines of progress


def row(
  record: records.Record,
  processor: protocols.Processor,
  shape: batch_lib.RowShape,
) -> batch_lib.Row:
  """A row with a record's first question alone, and the images before it.

  Args:
    record: one of a source.
    processor: what the checkpoint makes of it.
    shape: slots of the row.

  Raises:
    fits.TooLong: it needs more slots than the row has.
    records.BadRecord: as of `stream.segment`.
  """
  question = _question(record, processor)
  fits.require(stream.slots_of(question, record.sizes, processor), shape)
  return packing.row([stream.segment_of(record, question, processor)], shape)


def outline(
  record: records.Record, processor: protocols.Processor
) -> tuple[dict[str, int], int]:
  """({text, visual, tiles} that `row` takes, images that it has).

  Args:
    record: one of a source, or its outline.
    processor: what the checkpoint makes of it.

  Raises:
    records.BadRecord: as of `row`, but for images that cannot be decoded.
  """
  question = _question(record, processor)
  slots = stream.slots_of(question, record.sizes, processor)
  return slots, len(question.image_at)


def require_images(
  record: records.Record, images: int, processor: protocols.Processor
) -> None:
  """Whether the first images of a record can be decoded.

  Args:
    record: one of a source.
    images: how many.
    processor: what the checkpoint makes of them.

  Raises:
    records.BadRecord: one cannot, or is of another size than the record says.
  """
  try:
    for file, size in zip(record.images[:images], record.sizes):
      opened = processor.open_image(file)
      if (opened.height, opened.width) != size:
        raise ValueError(
          f'an image of {opened.height} x {opened.width}; {size} was planned'
        )
  except ValueError as e:
    raise records.BadRecord('broken image', str(e), record.id) from e


def examined(
  examine: Callable[[int], T], count: int, name: str
) -> Iterator[T | ValueError]:
  """Examines questions 0 to `count`, several at a time; yields in order.

  Args:
    examine: what to do with a question, given its number.
    count: questions.
    name: of their stream, for progress.

  Yields:
    What `examine` gives, or the ValueError that it raises.
  """

  def safe(number: int) -> T | ValueError:
    try:
      return examine(number)
    except ValueError as e:
      return e

  progress = console.Progress(f'{name} questions examined', count)
  pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
  try:
    for number, result in enumerate(pool.map(safe, range(count)), 1):
      yield result
      if not number % TOLD:
        progress.line(number)
  finally:
    pool.shutdown(cancel_futures=True)


def segment(
  text: str,
  images: Sequence[protocols.ImageLike],
  processor: protocols.Processor,
  sizes: Sequence[tuple[int, int]] | None = None,
) -> packing.Segment:
  """A question about images, up to where its answer begins.

  Args:
    text: with an <image> marker for every image or with none.
    images: in the order of their markers.
    processor: what the checkpoint makes of both.
    sizes: (height, width) that each image should have; None for any.

  Raises:
    OSError: there is no such file, or it cannot be read.
    ValueError: the question is empty, its markers are not one per image, or an
      image is broken or of another size.
  """
  conversation = processor.tokenizer.prompt(text, len(images))
  opened = [processor.open_image(image) for image in images]
  if sizes is None:
    sizes = [(image.height, image.width) for image in opened]
  return stream.segment_of_images(conversation, opened, sizes, processor)


def follow_up(
  turns: Sequence[tuple[str, str]],
  images: int,
  tokenizer: protocols.Tokenizer,
  system: str = '',
) -> processed.Conversation:
  """The last question of a conversation, up to where its answer begins.

  Args:
    turns: questions with their answers; that of the last is not looked at.
    images: how many there are; markers as in a record's turns.
    tokenizer: of the checkpoint.
    system: what the system says before all of it; '' for nothing.

  Raises:
    ValueError: a question or an earlier answer is empty, or the markers are not
      one per image.
  """
  *past, (asked, _) = turns
  if not past:
    return tokenizer.prompt(asked, images, system)
  record = [records.Turn(*turn, '') for turn in past]
  record[0] = dataclasses.replace(record[0], system=system)
  answer = past[-1][1]  # any: what stands behind the question is cut off
  record.append(records.Turn(asked, answer, ''))
  talk = tokenizer.conversation(record, images)
  last = processed.cut(talk, talk.prompts[-1] + 1, len(turns))
  return dataclasses.replace(last, prompts=last.prompts[-1:])


def _question(
  record: records.Record, processor: protocols.Processor
) -> processed.Conversation:
  """A record's first question alone."""
  conversation = stream.conversation_of(record, processor)
  return processed.cut(conversation, conversation.prompts[0] + 1, turns=1)

"""Rows of conversations from sources, for `loader.batches`.

  order = order_lib.Order(seed, map(len, sources), weights)
  lengths = stream.lengths(sources, processor, counter)
  windows = bin_packing.Windows(order, lengths, shape, draws=1024, rows=233)
  load = stream.training(windows, sources, processor, counter)
  for batch, _ in loader.batches(load, ...)

A record that cannot be used becomes padding: its row loses a segment and the
rest of the run stays as it is. Which rows there are never depends on it.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np
import PIL.Image

from visor_jax.data import fits
from visor_jax.data import protocols
from visor_jax.data.pipeline import bad_share
from visor_jax.data.pipeline import bin_packing
from visor_jax.data.processing import encoder
from visor_jax.data.processing import packing
from visor_jax.data.processing import processed
from visor_jax.data.sources import records
from visor_jax.spec import batch as batch_lib


def lengths(
  sources: Sequence[protocols.Source],
  processor: protocols.Processor,
  counter: bad_share.BadRecordCounter,
) -> bin_packing.Lengths:
  """`lengths` for `bin_packing.Windows`, from the text and the images' sizes.

  Every host asks for those of all records, so no image is read for them.

  Args:
    sources: where records come from, as the draws number them.
    processor: what the checkpoint makes of them.
    counter: counts the records that are planned.
  """

  def slots(source: int, index: int) -> np.ndarray:
    name = sources[source].name
    try:
      slots = _slots(sources[source].outline(index), processor)
    except ValueError as e:
      counter.count(name, e)
      return np.zeros((0, len(bin_packing.SLOTS)), int)
    counter.count(name)
    return slots

  return slots


def training(
  windows: bin_packing.Windows,
  sources: Sequence[protocols.Source],
  processor: protocols.Processor,
  counter: bad_share.BadRecordCounter,
) -> protocols.Load:
  """A `load` of packed rows for `loader.batches`.

  Args:
    windows: which records share a row.
    sources: where records come from, as the draws number them.
    processor: what the checkpoint makes of them.
    counter: counts the records that are loaded.
  """

  def load(number: int) -> tuple[batch_lib.Row, None]:
    segments = []
    for piece in windows.row(number):
      source = sources[piece.draw.source]
      try:
        segments.append(
          segment(source[piece.draw.index], piece.turns, processor)
        )
      except ValueError as e:
        counter.count(source.name, e)
      else:
        counter.count(source.name)
    return packing.row(segments, windows.shape), None

  return load


def segment(
  record: records.Record, turns: int, processor: protocols.Processor
) -> packing.Segment:
  """A record's first turns, with their images decoded and cut to tiles.

  Args:
    record: one of a source.
    turns: how many.
    processor: what the checkpoint makes of it.

  Raises:
    records.BadRecord: the tokenizer refuses the record, or an image cannot be
      decoded or is of another size than the record says.
  """
  conversation = _first_turns(_conversation(record, processor), turns)
  return _with_images(record, conversation, processor)


def prompt(
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
    records.BadRecord: as of `segment`.
  """
  question = _question(record, processor)
  fits.require(slots_of(question, record.sizes, processor), shape)
  return packing.row([_with_images(record, question, processor)], shape)


def prompt_slots(
  record: records.Record, processor: protocols.Processor
) -> dict[str, int]:
  """The slots that `prompt` takes, from an outline alone.

  Args:
    record: one of a source, or its outline.
    processor: what the checkpoint makes of it.

  Raises:
    records.BadRecord: as of `segment`, but for images that cannot be decoded.
  """
  question = _question(record, processor)
  return slots_of(question, record.sizes, processor)


def slots_of(
  question: processed.Conversation,
  sizes: Sequence[tuple[int, int]],
  processor: protocols.Processor,
) -> dict[str, int]:
  """{text, visual, tiles} that a question and its images take.

  Args:
    question: the text, with a place for each image.
    sizes: (height, width) of images; those without a place are left out.
    processor: what the checkpoint makes of them.
  """
  plans = processor.plans(sizes[: len(question.image_at)])
  return dict(
    text=len(question.tokens),
    visual=sum(plan.tokens for plan in plans),
    tiles=sum(plan.tiles for plan in plans),
  )


def question(
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
  return segment_of_images(conversation, opened, sizes, processor)


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
  talk = tokenizer.conversation([*record, records.Turn(asked, '?', '')], images)
  last = processed.cut(talk, talk.prompts[-1] + 1, len(turns))
  return dataclasses.replace(last, prompts=last.prompts[-1:])


def segment_of_images(
  conversation: processed.Conversation,
  opened: Sequence[PIL.Image.Image],
  sizes: Sequence[tuple[int, int]],
  processor: protocols.Processor,
) -> packing.Segment:
  """A conversation with the images that it is about, cut to tiles.

  Args:
    conversation: the text, with a place for each image.
    opened: images in RGB, as of the processor's `open_image`.
    sizes: (height, width) that each should have.
    processor: what the checkpoint makes of them.

  Raises:
    ValueError: an image is of another size.
  """
  return packing.segment_of_images(
    conversation,
    processor.tiles(opened, sizes),
    processor.plans(sizes),
    processor.patches,
  )


def _with_images(
  record: records.Record,
  conversation: processed.Conversation,
  processor: protocols.Processor,
) -> packing.Segment:
  """The conversation, which may be a part of the record's, with its images."""
  sizes = record.sizes[: len(conversation.image_at)]
  files = record.images[: len(sizes)]
  try:
    opened = [processor.open_image(file) for file in files]
    return segment_of_images(conversation, opened, sizes, processor)
  except ValueError as e:
    raise records.BadRecord('broken image', str(e), record.id) from e


def _slots(
  record: records.Record, processor: protocols.Processor
) -> np.ndarray:
  """int [turns, 4], see `bin_packing.Lengths`."""
  conversation, slots = _conversation(record, processor), []
  for turns in range(1, len(record.turns) + 1):
    part = _first_turns(conversation, turns)
    needed = slots_of(part, record.sizes, processor)
    slots.append((*needed.values(), len(part.prompts)))
  return np.array(slots)


def _question(
  record: records.Record, processor: protocols.Processor
) -> processed.Conversation:
  """A record's first question alone."""
  conversation = _conversation(record, processor)
  return processed.cut(conversation, conversation.prompts[0] + 1, turns=1)


def _conversation(
  record: records.Record, processor: protocols.Processor
) -> processed.Conversation:
  """All turns of a record in tokens."""
  records.check(record)
  try:
    return processor.tokenizer.conversation(record.turns, len(record.sizes))
  except encoder.UnknownToken as e:
    raise records.BadRecord('unknown token', str(e), record.id) from e
  except ValueError as e:
    raise records.BadRecord('chat template', str(e), record.id) from e


def _first_turns(
  conversation: processed.Conversation, turns: int
) -> processed.Conversation:
  """The first turns, and the images before their end."""
  if turns == len(conversation.prompts):
    return conversation
  answer = conversation.answer
  ends = np.flatnonzero(answer & ~np.append(answer[1:], False))
  return processed.cut(conversation, ends[turns - 1] + 1, turns)

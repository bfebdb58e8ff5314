"""Rows of conversations from sources, for `loader.batches`.

  order = order_lib.Order(seed, map(len, sources), weights)
  measure = stream.measure({'full': sources}, processor)('full')
  needs = stream.lengths(sources, measure, counter)
  windows = bin_packing.Windows(order, needs, shape, draws=1024, rows=233)
  load = stream.training(windows, sources, processor, counter)
  for batch, _ in loader.batches(load, ...)

A record that cannot be used becomes padding: its row loses a segment and the
rest of the run stays as it is. Which rows there are never depends on it.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import functools

import numpy as np
import PIL.Image

from visor_jax.data import fits
from visor_jax.data import pool
from visor_jax.data import protocols
from visor_jax.data.pipeline import bad_share
from visor_jax.data.pipeline import bin_packing
from visor_jax.data.pipeline import order
from visor_jax.data.processing import encoder
from visor_jax.data.processing import packing
from visor_jax.data.processing import processed
from visor_jax.data.sources import records
from visor_jax.spec import batch as batch_lib

# What a record takes, see `bin_packing.Lengths`, and why, if it is bad.
Measured = tuple[np.ndarray, ValueError | None]
Measure = Callable[[Sequence[order.Draw]], Iterable[Measured]]


def measure(
  sources: Mapping[str, Sequence[protocols.Source]],
  processor: protocols.Processor,
  workers: int = 0,
) -> Callable[[str], Measure]:
  """Measures draws of streams by the text and the sizes of images.

  Every host asks for those of all records, so no image is read for them.

  Args:
    sources: {stream: where its records come from, as the draws number them}.
    processor: what the checkpoint makes of them.
    workers: processes that do it, for one stream after another; 0 for this one.
  """
  shared = dict(sources), processor
  processes = pool.begin(workers, shared, patient=True) if workers else None

  def of(stream: str) -> Measure:
    act = functools.partial(_measured, stream)
    if processes is None:
      return lambda draws: (act(draw, shared) for draw in draws)
    return lambda draws: pool.each(processes, act, draws, chunk=16)

  return of


def _measured(
  stream: str,
  draw: order.Draw,
  shared: tuple[Mapping[str, Sequence[protocols.Source]], protocols.Processor],
) -> Measured:
  sources, processor = shared
  try:
    record = sources[stream][draw.source].outline(draw.index)
    return of_record(record, processor), None
  except ValueError as e:
    return np.zeros((0, len(bin_packing.SLOTS)), int), e


def lengths(
  sources: Sequence[protocols.Source],
  measure: Measure,
  counter: bad_share.BadRecordCounter,
) -> bin_packing.Lengths:
  """`lengths` for `bin_packing.Windows`.

  Args:
    sources: where records come from, as the draws number them.
    measure: of their stream, see the function of this name.
    counter: counts the records that are planned.
  """

  def slots(draws: Sequence[order.Draw]) -> Iterator[np.ndarray]:
    for draw, (slots, error) in zip(draws, measure(draws), strict=True):
      counter.count(sources[draw.source].name, error)
      yield slots

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
      except Exception as e:
        e.add_note(f'It is of record {piece.draw.index} of {source.name}.')
        raise
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
  conversation = processed.first_turns(
    conversation_of(record, processor), turns
  )
  return segment_of(record, conversation, processor)


def question_row(
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
  return packing.row([segment_of(record, question, processor)], shape)


def question_outline(
  record: records.Record, processor: protocols.Processor
) -> tuple[dict[str, int], int]:
  """({text, visual, tiles} that `question_row` takes, images that it has).

  Args:
    record: one of a source, or its outline.
    processor: what the checkpoint makes of it.

  Raises:
    records.BadRecord: as of `question_row`, but not of images.
  """
  question = _question(record, processor)
  slots = slots_of(question, record.sizes, processor)
  return slots, len(question.image_at)


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


def conversation_of(
  record: records.Record, processor: protocols.Processor
) -> processed.Conversation:
  """All turns of a record in tokens.

  Raises:
    records.BadRecord: the record is broken, or the tokenizer refuses it.
  """
  records.check(record)
  try:
    return processor.tokenizer.conversation(record.turns, len(record.sizes))
  except encoder.UnknownToken as e:
    raise records.BadRecord('unknown token', str(e), record.id) from e
  except ValueError as e:
    raise records.BadRecord('chat template', str(e), record.id) from e


def segment_of(
  record: records.Record,
  conversation: processed.Conversation,
  processor: protocols.Processor,
) -> packing.Segment:
  """A conversation with its images, decoded and cut to tiles.

  Args:
    record: whose images they are.
    conversation: what is said in it, or the beginning of that.
    processor: what the checkpoint makes of both.

  Raises:
    records.BadRecord: an image cannot be decoded or is of another size than the
      record says.
  """
  sizes = record.sizes[: len(conversation.image_at)]
  try:
    opened = [
      processor.open_image(file) for file in record.images[: len(sizes)]
    ]
    return segment_of_images(conversation, opened, sizes, processor)
  except ValueError as e:
    raise records.BadRecord('broken image', str(e), record.id) from e


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
  cut = processor.cut(opened, sizes)
  return packing.segment_of_images(
    conversation,
    [image.tiles for image in cut],
    [image.plan for image in cut],
    processor.patches,
  )


def of_record(
  record: records.Record, processor: protocols.Processor
) -> np.ndarray:
  """int [turns, 4], see `bin_packing.Lengths`."""
  conversation, slots = conversation_of(record, processor), []
  for turns in range(1, len(record.turns) + 1):
    part = processed.first_turns(conversation, turns)
    needed = slots_of(part, record.sizes, processor)
    slots.append((*needed.values(), len(part.prompts)))
  return np.array(slots)


def _question(
  record: records.Record, processor: protocols.Processor
) -> processed.Conversation:
  """A record's first question alone."""
  conversation = conversation_of(record, processor)
  return processed.cut(conversation, conversation.prompts[0] + 1, turns=1)

"""Questions without a record: what a user asks, about images."""

from collections.abc import Sequence
import dataclasses

from visor_jax.data import protocols
from visor_jax.data.pipeline import stream
from visor_jax.data.processing import packing
from visor_jax.data.processing import processed
from visor_jax.data.sources import records


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

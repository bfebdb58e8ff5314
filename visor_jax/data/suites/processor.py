"""What models of the built-in suites make of words and images.

An image is a picture of tiles, one below the other: lines of a page, frames of
a clip.
"""

from collections.abc import Sequence
import dataclasses
import io
from typing import Protocol

import numpy as np
import PIL.Image

from visor_jax.data import protocols
from visor_jax.data.processing import processed
from visor_jax.data.sources import image_files
from visor_jax.data.suites import vocabulary
from visor_jax.spec import batch as batch_lib


def png(tiles: np.ndarray, times: int = 1) -> bytes:
  """A picture as a file.

  Args:
    tiles: uint8 [I, height, width, 3].
    times: by how much it is enlarged; a Processor reads the same from it.
  """
  image, file = PIL.Image.fromarray(np.concatenate(tiles)), io.BytesIO()
  size = times * image.width, times * image.height
  image.resize(size, PIL.Image.Resampling.NEAREST).save(file, 'PNG')
  return file.getvalue()


def of_suite(suite: 'DrawnSuite') -> 'Processor':
  """What models make of words and images that learn from a suite."""
  return Processor(suite.words, suite.question_shape)


class DrawnSuite(Protocol):
  """What is asked of one, see drawn.Suite."""

  @property
  def words(self) -> vocabulary.Vocabulary: ...

  @property
  def question_shape(self) -> batch_lib.RowShape: ...


@dataclasses.dataclass(frozen=True)
class Processor:
  """A protocols.Processor.

  Attributes:
    tokenizer: words of all questions and answers.
    question: slots of a question about an image.
  """

  tokenizer: vocabulary.Vocabulary
  question: batch_lib.RowShape

  @property
  def patches(self) -> int:
    """P of a tile."""
    return self.question.patches

  @property
  def size(self) -> tuple[int, int]:
    """(height, width) of a picture."""
    height, width = self.question.tile
    return self.question.tiles * height, width

  def row_shape(
    self, *, text: int, visual: int, tiles: int, prompts: int = 1
  ) -> batch_lib.RowShape:
    """Slots of a row."""
    return dataclasses.replace(
      self.question, text=text, visual=visual, tiles=tiles, prompts=prompts
    )

  def open_image(self, source: protocols.ImageLike) -> PIL.Image.Image:
    """An image in RGB; arguments and errors as of image_files.open_image.

    Raises:
      ValueError: also where it has not the shape of a picture.
    """
    image = image_files.open_image(source)
    height, width = self.size
    if image.height * width != image.width * height:
      raise ValueError(
        f'an image is {image.height} x {image.width} pixels; this model reads '
        f'pictures of {height} x {width}, or as much larger in both'
      )
    return image

  def plans(
    self, sizes: Sequence[tuple[int, int]]
  ) -> list[processed.PatchPlan]:
    """How the images of a sample become tokens: all alike."""
    plan = processed.PatchPlan(self.patches, self.question.tiles)
    return [plan] * len(sizes)

  def tiles(
    self,
    opened: Sequence[PIL.Image.Image],
    sizes: Sequence[tuple[int, int]],
  ) -> list[np.ndarray]:
    """The tiles of each image, uint8 [tiles, height, width, 3].

    Args:
      opened: images in RGB, as of `open_image`.
      sizes: is not looked at, as all become of one size.
    """
    height, width = self.size
    box = PIL.Image.Resampling.BOX  # gives an enlarged picture back as it was
    shape = (self.question.tiles, *self.question.tile, 3)
    return [
      np.asarray(image.resize((width, height), box)).reshape(shape)
      for image in opened
    ]

"""Images made smaller before a checkpoint's processor gets them."""

from collections.abc import Sequence
import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

from visor_jax.data.processing import processed
from visor_jax.data.sources import image_files
from visor_jax.spec import batch as batch_lib

if TYPE_CHECKING:
  from visor_jax.data import protocols


def size(height: int, width: int, side: int) -> tuple[int, int]:
  """Height and width, of which the longer one is at most `side` pixels."""
  longest = max(height, width, side)
  return max(1, round(height * side / longest)), max(
    1, round(width * side / longest)
  )


@dataclasses.dataclass(frozen=True)
class Processor:
  """A protocols.Processor of smaller images.

  Attributes:
    original: the checkpoint's.
    processor: what it makes of images that are smaller already.
    side: pixels that the longer side of an image has at most.
  """

  original: 'protocols.Processor'
  processor: 'protocols.Processor'
  side: int

  @property
  def tokenizer(self) -> 'protocols.Tokenizer':
    """The checkpoint's."""
    return self.processor.tokenizer

  @property
  def patches(self) -> int:
    """P of a tile."""
    return self.processor.patches

  def resized(self, side: int) -> 'protocols.Processor':
    """Of images of another size."""
    return self.original.resized(side)

  def row_shape(
    self, *, text: int, visual: int, tiles: int, prompts: int = 1
  ) -> batch_lib.RowShape:
    """Slots of a row."""
    return self.processor.row_shape(
      text=text, visual=visual, tiles=tiles, prompts=prompts
    )

  def open_image(self, source: 'protocols.ImageLike') -> PIL.Image.Image:
    """An image in RGB, as large as it is."""
    return self.processor.open_image(source)

  def plans(
    self, sizes: Sequence[tuple[int, int]]
  ) -> Sequence[processed.ImagePlan]:
    """How the images of a sample, each (height, width), become tokens."""
    return self.processor.plans([size(*each, self.side) for each in sizes])

  def tiles(
    self,
    opened: Sequence[PIL.Image.Image],
    sizes: Sequence[tuple[int, int]],
  ) -> Sequence[np.ndarray]:
    """The tiles of each image of a sample, uint8 [tiles, height, width, 3].

    Args:
      opened: images in RGB, as of `open_image`.
      sizes: (height, width) that each should have.

    Raises:
      ValueError: an image is of another size.
    """
    image_files.check_sizes(opened, sizes)
    smaller = [size(*each, self.side) for each in sizes]
    return self.processor.tiles(
      [_resize(image, each) for image, each in zip(opened, smaller)], smaller
    )


def _resize(image: PIL.Image.Image, to: tuple[int, int]) -> PIL.Image.Image:
  """Bicubic, each new pixel of all that it covers; as it is where it fits."""
  return image.resize(to[::-1], PIL.Image.Resampling.BICUBIC)

"""What models of the built-in suites make of words and images.

An image is a picture of tiles, one below the other: lines of a page, frames of
a clip.
"""

from collections.abc import Sequence
import dataclasses
import io
import math
from typing import NoReturn
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
  image, file = image_files.picture(tiles), io.BytesIO()
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

  @property
  def original(self) -> 'Processor':
    """The same of pictures as they are."""
    return self

  def resized(self, side: int) -> 'Smaller':
    """Of pictures whose longer side has at most so many pixels."""
    return Smaller(self.tokenizer, self.question, side)

  def pruned(self) -> NoReturn:
    """There are none.

    Raises:
      ValueError: a tile is more than a visual token.
    """
    raise ValueError(
      f'pixelprune: a tile of this suite is {self.patches} patches, which the '
      'tower takes together'
    )

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
    smaller = image.height < height
    if smaller or image.height * width != image.width * height:
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
    shape = (self.question.tiles, *self.question.tile, 3)
    return [np.asarray(self.picture(image)).reshape(shape) for image in opened]

  def cut(
    self,
    opened: Sequence[PIL.Image.Image],
    sizes: Sequence[tuple[int, int]],
  ) -> list[processed.CutImage]:
    """Both; arguments as of `tiles`."""
    return list(
      map(processed.CutImage, self.tiles(opened, sizes), self.plans(sizes))
    )

  def picture(self, image: PIL.Image.Image) -> PIL.Image.Image:
    """An enlarged picture as it was."""
    return image.resize(self.size[::-1], PIL.Image.Resampling.BOX)


@dataclasses.dataclass(frozen=True)
class Smaller(Processor):
  """Of pictures that are made smaller, amid tiles as large as ever.

  A tile repeats the edge of the picture beside it, where no patch becomes a
  token: towers have learned one size of tile.

  Attributes:
    side: pixels that the longer side of a picture has at most.

  Raises:
    ValueError: a picture would not be whole patches.
  """

  side: int

  def __post_init__(self) -> None:
    if any(length % self._patch for length in self._smaller):
      longest = max(self.size)
      sides = [
        side
        for side in range(1, longest + 1)
        if not any(n * side % (longest * self._patch) for n in self.size)
      ]
      raise ValueError(
        f'resize:{self.side}: pictures of {self.size[0]} x {self.size[1]} '
        f'pixels, in patches of {self._patch}, can have {sides} to the longer '
        'side'
      )

  @property
  def original(self) -> Processor:
    """The same of pictures as they are."""
    return Processor(self.tokenizer, self.question)

  @property
  def _smaller(self) -> tuple[int, int]:
    """(height, width) of what is left of a picture."""
    return processed.smaller(*self.size, self.side)

  @property
  def _patch(self) -> int:
    """Pixels to the side of a patch."""
    height, width = self.question.tile
    return math.isqrt(height * width // self.patches)

  def plans(
    self, sizes: Sequence[tuple[int, int]]
  ) -> list[processed.PatchPlan]:
    """How the images of a sample become tokens: all alike."""
    rows, columns = (length // self._patch for length in self._smaller)
    down, across = (length // self._patch for length in self.question.tile)
    row, column = np.divmod(np.arange(rows * columns), columns)
    tile, row = np.divmod(row, down)
    index = tile * self.patches + row * across + column
    plan = processed.PartPlan(
      self.patches, -(-rows // down), tuple(index.tolist())
    )
    return [plan] * len(sizes)

  def tiles(
    self,
    opened: Sequence[PIL.Image.Image],
    sizes: Sequence[tuple[int, int]],
  ) -> list[np.ndarray]:
    """The tiles of each image, uint8 [tiles, height, width, 3]."""
    return [self._cut(self.picture(image)) for image in opened]

  def _cut(self, picture: PIL.Image.Image) -> np.ndarray:
    height, width = self.question.tile
    smaller = np.asarray(
      picture.resize(self._smaller[::-1], PIL.Image.Resampling.BICUBIC)
    )
    beside = -smaller.shape[0] % height, width - smaller.shape[1]
    padding = *((0, length) for length in beside), (0, 0)
    return np.pad(smaller, padding, 'edge').reshape(-1, height, width, 3)

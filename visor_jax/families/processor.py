"""What the processors of all families share: words, slots and opened images.

How an image becomes tiles is a family's own.
"""

from collections.abc import Sequence
import dataclasses
import pathlib
from typing import ClassVar
from typing import Protocol
from typing import Self

import numpy as np
import PIL.Image

from visor_jax.data.processing import processed
from visor_jax.data.processing import text
from visor_jax.data.sources import image_files
from visor_jax.families import pruned
from visor_jax.families import resized
from visor_jax.spec import batch as batch_lib


class Recipe(Protocol):
  """What a checkpoint says of images.

  Attributes:
    tile: height and width of a tile in pixels.
    patches: P of a tile.
  """

  @property
  def tile(self) -> int: ...

  @property
  def patches(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class Processor:
  """What a checkpoint makes of words and images.

  With `plans` and `tiles` it is a protocols.Processor; both are a family's own.

  Attributes:
    tokenizer: its words and chat template.
    recipe: its tiles.
    transparency: what lies behind a transparent image, see
      image_files.GROUNDS.
    taps: patches that are summed into a visual token, at most.
  """

  tokenizer: text.Tokenizer
  recipe: Recipe
  transparency: str = 'white'
  taps: ClassVar[int] = 1

  @property
  def patches(self) -> int:
    """P of a tile."""
    return self.recipe.patches

  @property
  def original(self) -> Self:
    """Itself: images stay as they are."""
    return self

  def row_shape(
    self, *, text: int, visual: int, tiles: int, prompts: int = 1
  ) -> batch_lib.RowShape:
    """Slots of a row, with tiles as this checkpoint has them."""
    return batch_lib.RowShape(
      text=text,
      visual=visual,
      tiles=tiles,
      prompts=prompts,
      tile=(self.recipe.tile, self.recipe.tile),
      patches=self.patches,
      taps=self.taps,
    )

  def open_image(
    self, source: pathlib.Path | str | bytes | PIL.Image.Image
  ) -> PIL.Image.Image:
    """An image in RGB; arguments and errors as of image_files.open_image."""
    return image_files.open_image(source, self.transparency)

  def plans(
    self, sizes: Sequence[tuple[int, int]]
  ) -> Sequence[processed.ImagePlan]:
    """How the images of a sample, each (height, width), become tokens."""
    raise NotImplementedError

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
    raise NotImplementedError

  def cut(
    self,
    opened: Sequence[PIL.Image.Image],
    sizes: Sequence[tuple[int, int]],
  ) -> list[processed.CutImage]:
    """Both; arguments and errors as of `tiles`."""
    return list(
      map(processed.CutImage, self.tiles(opened, sizes), self.plans(sizes))
    )

  def resized(self, side: int) -> resized.Processor:
    """Of images whose longer side has at most so many pixels."""
    return resized.Processor(self, self, side)

  def pruned(self) -> pruned.Processor:
    """Of images without the tiles that their neighbours foretell."""
    return pruned.Processor(self, self)

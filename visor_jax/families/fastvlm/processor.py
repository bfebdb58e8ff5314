"""A checkpoint's processor: its words, its chat template and its tiles.

It is a protocols.Processor.
"""

from collections.abc import Sequence
import dataclasses
import pathlib

import numpy as np
import PIL.Image

from visor_jax.data.processing import text
from visor_jax.data.sources import image_files
from visor_jax.families.fastvlm import images
from visor_jax.families.fastvlm import recipe as recipe_lib
from visor_jax.spec import batch as batch_lib


@dataclasses.dataclass(frozen=True)
class Processor:
  """What a checkpoint makes of words and images.

  Attributes:
    tokenizer: its words and chat template.
    recipe: its tiles.
    transparency: what lies behind a transparent image, see
      image_files.GROUNDS.
  """

  tokenizer: text.Tokenizer
  recipe: recipe_lib.Recipe
  transparency: str = 'white'

  @property
  def patches(self) -> int:
    """P of a tile."""
    return self.recipe.patches

  def row_shape(
    self, *, text: int, visual: int, tiles: int, prompts: int = 1
  ) -> batch_lib.RowShape:
    """Slots of a row, with tiles as this checkpoint has them."""
    return batch_lib.RowShape(
      text=text,
      visual=visual,
      tiles=tiles,
      prompts=prompts,
      tile=(self.recipe.side, self.recipe.side),
      patches=self.patches,
    )

  def open_image(
    self, source: pathlib.Path | str | bytes | PIL.Image.Image
  ) -> PIL.Image.Image:
    """An image in RGB; arguments and errors as of image_files.open_image."""
    return image_files.open_image(source, self.transparency)

  def plans(self, sizes: Sequence[tuple[int, int]]) -> list[images.Plan]:
    """How the images of a sample become tokens: all alike."""
    return [images.Plan(self.patches)] * len(sizes)

  def tiles(
    self,
    opened: Sequence[PIL.Image.Image],
    sizes: Sequence[tuple[int, int]],
  ) -> list[np.ndarray]:
    """The tile of each image of a sample, uint8 [1, side, side, 3].

    Args:
      opened: images in RGB, as of `open_image`.
      sizes: (height, width) that each should have.

    Raises:
      ValueError: an image is of another size, or too thin to be cut.
    """
    for image, size in zip(opened, sizes, strict=True):
      if (image.height, image.width) != size:
        raise ValueError(
          f'an image of {image.height} x {image.width}; {size} was planned'
        )
    return [images.tile(i, self.recipe.side, self.recipe.fit) for i in opened]


def read(
  folder: pathlib.Path, transparency: str = 'white', rows: int | None = None
) -> Processor:
  """The processor in a checkpoint's folder.

  Args:
    folder: the checkpoint's.
    transparency: what lies behind a transparent image, see
      image_files.GROUNDS.
    rows: of the embedding; None where nobody knows.

  Raises:
    FileNotFoundError: naming the file that is missing.
    ValueError: naming what is wrong with one.
  """
  tokenizer = text.Tokenizer(folder, rows=rows)
  return Processor(tokenizer, recipe_lib.read(folder), transparency)

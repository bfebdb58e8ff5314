"""A checkpoint's processor: its words, its chat template and its tiles.

It is a protocols.Processor.
"""

from collections.abc import Sequence
import dataclasses
import pathlib

import numpy as np
import PIL.Image

from visor_jax.data.processing import processed
from visor_jax.data.processing import text
from visor_jax.data.sources import image_files
from visor_jax.families import processor
from visor_jax.families import resized
from visor_jax.families.fastvlm import images
from visor_jax.families.fastvlm import recipe as recipe_lib


@dataclasses.dataclass(frozen=True)
class Processor(processor.Processor):
  """What a checkpoint makes of words and images."""

  recipe: recipe_lib.Recipe

  def plans(
    self, sizes: Sequence[tuple[int, int]]
  ) -> list[processed.PatchPlan]:
    """How the images of a sample become tokens: all alike."""
    return [images.plan(self.recipe)] * len(sizes)

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
    image_files.check_sizes(opened, sizes)
    return [images.tile(i, self.recipe.tile, self.recipe.fit) for i in opened]

  def resized(self, side: int) -> resized.Processor:
    """Of images whose longer side, and tile, has at most so many pixels."""
    tile = recipe_lib.smaller(self.recipe.tile, side)
    recipe = dataclasses.replace(self.recipe, tile=tile)
    return resized.Processor(
      self, dataclasses.replace(self, recipe=recipe), side
    )


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

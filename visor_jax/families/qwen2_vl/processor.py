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
from visor_jax.families import processor
from visor_jax.families.qwen2_vl import images
from visor_jax.families.qwen2_vl import recipe as recipe_lib

# What the template writes for an image, and what of it visual tokens replace.
_PAD = '<|image_pad|>'
_IMAGE = f'<|vision_start|>{_PAD}<|vision_end|>'


@dataclasses.dataclass(frozen=True)
class Processor(processor.Processor):
  """What a checkpoint makes of words and images."""

  recipe: recipe_lib.Recipe

  def plans(self, sizes: Sequence[tuple[int, int]]) -> list[images.Plan]:
    """How the images of a sample, each (height, width), become tokens.

    Raises:
      ValueError: one is too thin.
    """
    return [images.plan(self.recipe, *size) for size in sizes]

  def tiles(
    self,
    opened: Sequence[PIL.Image.Image],
    sizes: Sequence[tuple[int, int]],
  ) -> list[np.ndarray]:
    """The tiles of each image of a sample, uint8 [tiles, tile, tile, 3].

    Args:
      opened: images in RGB, as of `open_image`.
      sizes: (height, width) that each should have.

    Raises:
      ValueError: an image is of another size, or too thin.
    """
    image_files.check_sizes(opened, sizes)
    return [
      images.tiles(image, plan, self.recipe.tile)
      for image, plan in zip(opened, self.plans(sizes), strict=True)
    ]


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
  tokenizer = text.Tokenizer(folder, _IMAGE, _PAD, rows)
  return Processor(tokenizer, recipe_lib.read(folder), transparency)

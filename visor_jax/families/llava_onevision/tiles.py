"""From an image to its tiles, by its plan."""

import math

import numpy as np
import PIL.Image

from visor_jax.families.llava_onevision import images
from visor_jax.spec import sizes


def cut(image: PIL.Image.Image, plan: images.Plan) -> np.ndarray:
  """Cuts an image to tiles, the base view first.

  Args:
    image: RGB, see `image_files.open_image`.
    plan: made for its size.

  Returns:
    uint8 [tiles, height, width, 3].

  Raises:
    ValueError: the plan is for an image of another size, or this one not RGB.
  """
  if (image.height, image.width) != plan.size or image.mode != 'RGB':
    raise ValueError(
      f'an image of {image.height} x {image.width} in '
      f'{image.mode}; the plan is for {plan.size} in RGB'
    )
  side, bicubic = plan.recipe.tile, PIL.Image.Resampling.BICUBIC
  if plan.canvas is None:
    image = _square(image, plan.recipe.mean)
  tiles = np.empty((plan.tiles, side, side, 3), np.uint8)
  tiles[0] = np.asarray(image.resize((side, side), bicubic))
  if plan.canvas is not None:
    height, width = _fit(plan.canvas, *plan.size)
    top, left = (plan.canvas[0] - height) // 2, (plan.canvas[1] - width) // 2
    picture = image.resize((width, height), bicubic)
    for number, (row, column) in enumerate(np.ndindex(*plan.grid), start=1):
      # What `crop` takes from beside the picture is 0, which is the padding.
      y, x = row * side - top, column * side - left
      tiles[number] = np.asarray(picture.crop((x, y, x + side, y + side)))
  return tiles


def _fit(canvas: tuple[int, int], height: int, width: int) -> tuple[int, int]:
  """Height and width of the image where it fills the canvas one way."""
  across, down = canvas[1] / width, canvas[0] / height
  if across < down:
    return min(math.ceil(height * across), canvas[0]), canvas[1]
  return canvas[0], min(math.ceil(width * down), canvas[1])


def _square(image: PIL.Image.Image, mean: sizes.Colours) -> PIL.Image.Image:
  """The image amid the mean colour.

  Raises:
    ValueError: the mean is no colour; transformers refuses it, too.
  """
  side = max(image.size)
  colour = tuple(int(m * 255) for m in mean)
  if not all(0 <= part <= 255 for part in colour):
    raise ValueError(
      f'image_mean is {mean}: no colour that several images could be laid on'
    )
  square = PIL.Image.new('RGB', (side, side), colour)
  square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
  return square

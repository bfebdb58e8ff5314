"""From an image of any size to one square tile, and its visual tokens."""

import numpy as np
import PIL.Image

from visor_jax.data.processing import processed
from visor_jax.families.fastvlm import recipe

# Times as long as wide: to cut a thinner image takes gigabytes.
_LONGEST = 100
_BICUBIC = PIL.Image.Resampling.BICUBIC


def plan(cut: recipe.Recipe) -> processed.PatchPlan:
  """How an image of any size becomes visual tokens."""
  return processed.PatchPlan(cut.patches)


def tile(image: PIL.Image.Image, side: int, fit: str) -> np.ndarray:
  """An image as one tile.

  Args:
    image: RGB.
    side: of the tile in pixels.
    fit: a name in recipe.FITS: 'pad' for all of the image amid black, 'crop'
      for its middle alone.

  Returns:
    uint8 [1, side, side, 3].

  Raises:
    ValueError: it is too thin to be cut.
  """
  return np.asarray(_FITS[fit](image, side))[None]


def _pad(image: PIL.Image.Image, side: int) -> PIL.Image.Image:
  """As Apple's `expand2square`, then resized."""
  longest = max(image.size)
  square = PIL.Image.new('RGB', (longest, longest))
  square.paste(
    image, ((longest - image.width) // 2, (longest - image.height) // 2)
  )
  return square.resize((side, side), _BICUBIC)


def _crop(image: PIL.Image.Image, side: int) -> PIL.Image.Image:
  """As CLIP's processor: the shortest side is resized, and the middle cut."""
  shortest = min(image.size)
  width, height = (side * length // shortest for length in image.size)
  if max(width, height) > _LONGEST * side:
    raise ValueError(
      f'an image of {image.height} x {image.width} is too thin to be cut; its '
      f'sides may be 1 : {_LONGEST}'
    )
  image = image.resize((width, height), _BICUBIC)
  left, top = (width - side) // 2, (height - side) // 2
  return image.crop((left, top, left + side, top + side))


_FITS = dict(zip(recipe.FITS, (_pad, _crop), strict=True))

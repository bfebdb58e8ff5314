"""What a checkpoint says of images: tiles, and canvases to cut them from."""

import dataclasses
import pathlib
import re

from visor_jax.families.llava_onevision import config as config_lib
from visor_jax.families.llava_onevision import original
from visor_jax.families.llava_onevision import preprocessor
from visor_jax.runtime import json_fields
from visor_jax.spec import sizes

TAPS = 4  # patches that are summed into a visual token: bilinear


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What a checkpoint says about images.

  Attributes:
    tile: height and width of a tile in pixels.
    side: rows and columns of patches in a tile: 27 of 14 pixels in 384.
    canvases: (height, width) in pixels of those to choose from.
    most: tiles' worth of tokens that a canvas may have: 9 of anyres_max_9.
    mean: the colour that one of several images is laid on, as pixels / 255.
  """

  tile: int
  side: int
  canvases: tuple[tuple[int, int], ...]
  most: int
  mean: sizes.Colours

  @property
  def patches(self) -> int:
    """P of a tile."""
    return self.side**2


PUBLISHED = Recipe(
  tile=384,
  side=27,
  canvases=tuple((384 * h, 384 * w) for h in range(1, 7) for w in range(1, 7)),
  most=9,
  mean=(0.5, 0.5, 0.5),
)


def read(folder: pathlib.Path | str) -> Recipe:
  """The recipe in a checkpoint's folder.

  Raises:
    FileNotFoundError: naming the file that is missing.
    ValueError: a file is broken, lacks a field, contradicts another or asks for
      something else than anyres_max.
  """
  folder = pathlib.Path(folder)
  config, is_original = config_lib.as_transformers(folder)
  settings = preprocessor.read(folder, config, is_original)
  if not settings.values:
    raise FileNotFoundError(
      f'{folder} has no {preprocessor.FILES[1]}, which says how images are cut'
    )
  return _parse(settings, config, config_lib.read(folder).size.vision)


def _parse(
  settings: json_fields.Fields,
  config: json_fields.Fields,
  vision: sizes.Vision,
) -> Recipe:
  """No defaults: those of transformers' classes are not a checkpoint's."""
  tile, key = vision.tile[0], 'image_grid_pinpoints'
  size = settings.fields('size')
  if not size.values or any(n != tile for n in size.values.values()):
    raise settings.error('size', f'vision_config.image_size, which is {tile}')
  if config.has(key) and config.values[key] != settings.values.get(key):
    raise settings.error(key, 'the same as in config.json')
  ratio = config.text('vision_aspect_ratio', 'anyres_max_9')
  most = re.fullmatch('anyres_max_([1-9][0-9]{0,3})', ratio)
  if not most:
    raise config.error('vision_aspect_ratio', 'anyres_max_ and a number')
  for name in ('image_mean', 'image_std'):
    if not settings.has(name):
      raise settings.error(name, 'three numbers')
  return Recipe(
    tile=tile,
    side=vision.grid[0],
    canvases=_canvases(settings, key, tile),
    most=int(most[1]),
    mean=preprocessor.colours(settings, 'image_mean'),
  )


def _canvases(
  settings: json_fields.Fields, key: str, tile: int
) -> tuple[tuple[int, int], ...]:
  """(height, width) of each, whole tiles and not too many."""
  canvases = settings.values.get(key)
  sides = range(tile, original.SIDES * tile + 1, tile)
  if (
    not isinstance(canvases, list)
    or not 0 < len(canvases) <= original.SIDES**2
    or not all(
      isinstance(canvas, list)
      and len(canvas) == 2
      and all(type(side) is int and side in sides for side in canvas)
      for canvas in canvases
    )
  ):
    raise settings.error(
      key,
      f'pairs of height and width, multiples of {tile} up to {sides[-1]}, at '
      f'most {original.SIDES**2} pairs',
    )
  return tuple((height, width) for height, width in canvases)

"""What a checkpoint says of images: how large they may be."""

import dataclasses
import pathlib

from visor_jax.families.qwen2_vl import sizes
from visor_jax.runtime import json_fields
from visor_jax.spec import sizes as sizes_lib

_FILES = 'processor_config.json', 'preprocessor_config.json'
LARGEST = 1 << 28  # pixels of an image, at most
PATCH = 128  # pixels to a side, at most
WINDOWED = 'qwen2_5_vl'  # model_type of those whose tower has windows

# What is done to pixels, and could be asked otherwise.
_FIXED = dict(
  do_resize=True,
  do_rescale=True,
  do_normalize=True,
  resample=3,
  merge_size=sizes.MERGE,
  temporal_patch_size=2,
)


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What a checkpoint says of images.

  Attributes:
    tile: height and width of a tile in pixels.
    least: pixels of an image, once it is resized.
    most: likewise.
    window: tiles to a side of the squares in which the tower gets them, see
      sizes.Vision.
    mean: pixels / 255 are normalised by it.
    std: likewise.
  """

  tile: int
  least: int
  most: int
  window: int = 0
  mean: sizes_lib.Colours = sizes.MEAN
  std: sizes_lib.Colours = sizes.STD

  @property
  def patches(self) -> int:
    """P of a tile; those that are merged are one."""
    return 1


# The file of every published size. Where a file says nothing, transformers has
# at most 1280 tiles in mind.
PUBLISHED = Recipe(28, 4 * 28**2, 16384 * 28**2)


def read(folder: pathlib.Path) -> Recipe:
  """The recipe in a checkpoint's folder.

  Raises:
    FileNotFoundError: naming the file that is missing.
    ValueError: it asks for what is not done.
  """
  settings = _settings(folder)
  settings.require_all(_FIXED)
  patch = settings.integer('patch_size', 14, most=PATCH)
  size = settings.fields('size')
  for key in ('shortest_edge', 'longest_edge'):  # both count pixels
    if size.values and not size.has(key):
      raise size.error(key, 'a number of pixels')
  least, most = (
    settings.integer(key, size.integer(edge, default, most=LARGEST))
    for key, edge, default in (
      ('min_pixels', 'shortest_edge', 56 * 56),
      ('max_pixels', 'longest_edge', 1280 * 28**2),
    )
  )
  tile = sizes.MERGE * patch
  if most < max(least, tile**2):
    raise ValueError(
      f'{settings.where}images have {least} to {most} pixels; expected a range '
      f'with room for {tile} x {tile}'
    )
  return Recipe(
    tile,
    least,
    most,
    _window(folder, tile),
    _colours(settings, 'image_mean', sizes.MEAN),
    _colours(settings, 'image_std', sizes.STD),
  )


def _window(folder: pathlib.Path, tile: int) -> int:
  """Tiles to a side, as config.json says it in pixels; 0 for none."""
  config = json_fields.read(folder / 'config.json')
  if config.text('model_type', '') != WINDOWED:
    return 0
  return config.fields('vision_config').integer('window_size', 112) // tile


def _settings(folder: pathlib.Path) -> json_fields.Fields:
  """Of the image processor, from where old or new transformers writes them."""
  newer, older = (json_fields.read_if_there(folder / name) for name in _FILES)
  for settings in (newer.fields('image_processor'), newer, older):
    if settings.has('patch_size') or settings.has('image_mean'):
      return settings
  raise FileNotFoundError(
    f'{folder} has no {_FILES[1]}, which says how large images may be'
  )


def _colours(
  settings: json_fields.Fields, key: str, default: sizes_lib.Colours
) -> sizes_lib.Colours:
  values = settings.numbers(key, [*default])
  if len(values) != 3 or (key == 'image_std' and min(values) <= 0):
    raise settings.error(key, 'three numbers, of a deviation above 0')
  red, green, blue = values
  return red, green, blue

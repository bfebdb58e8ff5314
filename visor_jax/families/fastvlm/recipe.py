"""What a checkpoint says of images: how large a tile is, and how one fits."""

import dataclasses
import pathlib
import re

from visor_jax.runtime import json_fields

SIDE = 1024  # of published checkpoints
STRIDE = 64  # pixels of a patch
MAX_SIDE = 4096  # of a tile, in pixels
FITS = ('pad', 'crop')

# What is done to pixels, and could be asked otherwise.
_FIXED = dict(
  image_mean=[0, 0, 0],
  image_std=[1, 1, 1],
  resample=3,
  do_rescale=True,
  do_resize=True,
)


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What a checkpoint says of images.

  Attributes:
    tile: height and width of a tile in pixels.
    fit: how an image becomes one, a name in FITS: 'pad' as the models were
      trained, 'crop' as the processors of converted checkpoints do.
  """

  tile: int
  fit: str

  @property
  def patches(self) -> int:
    """P of a tile."""
    return (self.tile // STRIDE) ** 2


def smaller(tile: int, side: int) -> int:
  """Pixels to the side of a tile, of images with so many at most.

  Raises:
    ValueError: patches do not divide it.
  """
  if side < tile and side % STRIDE:
    raise ValueError(
      f'resize:{side}: an image is one tile of this family, whose side is a '
      f'multiple of {STRIDE} pixels, at most {tile}'
    )
  return min(side, tile)


def read(folder: pathlib.Path) -> Recipe:
  """The recipe in a checkpoint's folder.

  Converted checkpoints ask for 'crop' in the file of their processor, which
  nobody meant: "image_aspect_ratio" in config.json alone chooses it.

  Raises:
    ValueError: its files ask for what is not done, or contradict each other.
  """
  config = json_fields.read(folder / 'config.json')
  fit = config.text('image_aspect_ratio', FITS[0]) or FITS[0]
  if fit not in FITS:
    raise config.error('image_aspect_ratio', f'one of {FITS}')
  settings = _settings(folder)
  settings.require_all(_FIXED)
  crop, size = settings.fields('crop_size'), settings.fields('size')
  tower = re.findall(r'_(\d{1,5})$', config.text('mm_vision_tower', ''))
  sides = {
    *(fields.integer(key) for fields in (crop, size) for key in fields.values),
    *map(int, tower),
  } or {SIDE}
  if len(sides) > 1 or min(sides) % STRIDE or not 0 < min(sides) <= MAX_SIDE:
    raise ValueError(
      f'{folder}: images are {sorted(sides)} pixels to a side; expected one '
      f'multiple of {STRIDE}, at most {MAX_SIDE}'
    )
  return Recipe(min(sides), fit)


def _settings(folder: pathlib.Path) -> json_fields.Fields:
  """Of the image processor, from where old or new transformers writes them."""
  newer, older = (
    json_fields.read_if_there(folder / name)
    for name in ('processor_config.json', 'preprocessor_config.json')
  )
  for settings in (newer.fields('image_processor'), newer):
    if settings.has('image_mean'):
      return settings
  return older

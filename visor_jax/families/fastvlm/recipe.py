"""What a checkpoint says of images: how large a tile is, and how one fits."""

import dataclasses
import json
import pathlib
import re
from typing import Any

SIDE = 1024  # of published checkpoints
STRIDE = 64  # pixels of a patch
FITS = ('pad', 'crop')


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What a checkpoint says of images.

  Attributes:
    side: height and width of a tile in pixels.
    fit: how an image becomes one, a name in FITS: 'pad' as the models were
      trained, 'crop' as the processors of converted checkpoints do.
  """

  side: int
  fit: str

  @property
  def patches(self) -> int:
    """P of a tile."""
    return (self.side // STRIDE) ** 2


def read(folder: pathlib.Path) -> Recipe:
  """The recipe in a checkpoint's folder.

  Converted checkpoints ask for 'crop' in the file of their processor, which
  nobody meant: "image_aspect_ratio" in config.json alone chooses it.

  Raises:
    ValueError: its files ask for what is not done, or contradict each other.
  """
  path = folder / 'config.json'
  config = json.loads(path.read_text('utf-8'))
  fit = config.get('image_aspect_ratio') or FITS[0]
  if fit not in FITS:
    raise ValueError(
      f'{path}: image_aspect_ratio is {fit!r}; expected one of {FITS}'
    )
  settings = _settings(folder)
  for key, values in (
    ('image_mean', ([0, 0, 0],)),
    ('image_std', ([1, 1, 1],)),
    ('resample', (3,)),
  ):
    if settings.get(key, values[0]) not in values:
      raise ValueError(
        f'{folder}: {key} is {settings[key]}; the model has {values[0]}'
      )
  sides = {
    *(settings.get('crop_size') or {}).values(),
    *(settings.get('size') or {}).values(),
    *map(int, re.findall(r'_(\d+)$', str(config.get('mm_vision_tower')))),
  } or {SIDE}
  if len(sides) > 1 or min(sides) % STRIDE or min(sides) < STRIDE:
    raise ValueError(
      f'{folder}: images are {sorted(sides)} pixels to a side; expected one '
      f'multiple of {STRIDE}'
    )
  return Recipe(min(sides), fit)


def _settings(folder: pathlib.Path) -> dict[str, Any]:
  """Of the image processor, from where old or new transformers writes them."""
  for name in ('processor_config.json', 'preprocessor_config.json'):
    if (folder / name).exists():
      fields = json.loads((folder / name).read_text('utf-8'))
      settings = fields.get('image_processor', fields)
      if 'image_mean' in settings:
        return settings
  return {}

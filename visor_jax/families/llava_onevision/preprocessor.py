"""What a checkpoint's processor does to pixels, and what it may not do."""

import pathlib

from visor_jax.families.llava_onevision import original
from visor_jax.runtime import json_fields
from visor_jax.spec import sizes

FILES = ('processor_config.json', 'preprocessor_config.json')


def read(
  folder: pathlib.Path, config: json_fields.Fields, is_original: bool
) -> json_fields.Fields:
  """The settings of the image processor; none where no file has them.

  Args:
    folder: of the checkpoint.
    config: config.json as transformers has it.
    is_original: whether the folder is laid out as the originals are, which
      have no such file.

  Raises:
    ValueError: a file is broken, or asks for what is not done here.
  """
  newer, older = (json_fields.read_if_there(folder / name) for name in FILES)
  # transformers 5 writes it into the processor's file, transformers 4 apart.
  settings = newer.fields('image_processor')
  settings = settings if settings.values else older
  if is_original and not settings.values:
    return json_fields.Fields(
      original.preprocessor(dict(config.values)), config.where
    )
  settings.require('resample', 3)  # bicubic
  settings.require('do_resize', True)
  settings.require('do_center_crop', False)
  return settings


def normalisation(
  settings: json_fields.Fields,
) -> tuple[sizes.Colours, sizes.Colours]:
  """Mean and deviation that pixels / 255 are normalised by, colour by colour.

  transformers multiplies pixels by rescale_factor first, and leaves out either
  step where do_rescale or do_normalize is false.
  """
  unit = 1.0
  if settings.flag('do_rescale', True):
    unit = settings.number('rescale_factor', 1 / 255, least=1e-9)
  unit *= 255
  if not settings.flag('do_normalize', True):
    return (0.0, 0.0, 0.0), (1 / unit,) * 3
  mean, std = colours(settings, 'image_mean'), colours(settings, 'image_std')
  if min(std) <= 0:
    raise settings.error('image_std', 'numbers above 0')
  return _scaled(mean, unit), _scaled(std, unit)


def colours(settings: json_fields.Fields, key: str) -> sizes.Colours:
  """A number for red, green and blue each, by default 0.5."""
  values = settings.numbers(key, [0.5, 0.5, 0.5])
  if len(values) != 3:
    raise settings.error(key, 'three numbers: of red, green and blue')
  red, green, blue = values
  return red, green, blue


def _scaled(values: sizes.Colours, unit: float) -> sizes.Colours:
  red, green, blue = values
  return red / unit, green / unit, blue / unit

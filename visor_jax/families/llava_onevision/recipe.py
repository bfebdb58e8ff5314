"""What a checkpoint says of images: tiles, and canvases to cut them from."""

import dataclasses
import json
import pathlib
from typing import Any

TAPS = 4  # patches that are summed into a visual token: bilinear


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What a checkpoint says about images.

  Attributes:
    tile: height and width of a tile in pixels.
    side: rows and columns of patches in a tile: 27 of 14 pixels in 384.
    canvases: (height, width) in pixels of those to choose from.
    most: tiles' worth of tokens that a canvas may have: 9 of anyres_max_9.
    mean: of each channel, pixels / 255; the device normalises.
    std: likewise.
  """

  tile: int
  side: int
  canvases: tuple[tuple[int, int], ...]
  most: int
  mean: tuple[float, float, float]
  std: tuple[float, float, float]

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
  std=(0.5, 0.5, 0.5),
)


def read(folder: pathlib.Path | str) -> Recipe:
  """The recipe in a checkpoint's folder.

  Raises:
    FileNotFoundError: naming the file that is missing.
    ValueError: as `parse` does.
  """
  folder = pathlib.Path(folder)
  newer = folder / 'processor_config.json'  # where transformers 5 writes it
  inner = _json(newer).get('image_processor') if newer.exists() else None
  return parse(
    inner or _json(folder / 'preprocessor_config.json'),
    _json(folder / 'config.json'),
  )


def parse(preprocessor: dict[str, Any], config: dict[str, Any]) -> Recipe:
  """The recipe that preprocessor_config.json and config.json give.

  Raises:
    ValueError: they lack a field, contradict each other or ask for something
      else than anyres_max with bicubic tiles.
  """
  vision = config.get('vision_config', {})
  _require_fields(preprocessor, vision)
  size, tile = preprocessor['size'], vision['image_size']
  canvases = preprocessor['image_grid_pinpoints']
  ratio = config.get('vision_aspect_ratio', 'anyres_max_9')
  kind, _, most = ratio.rpartition('_')
  for wrong, message in (
    (
      set(size.values()) != {tile},
      f'size is {size}, vision_config.image_size {tile}; expected the same',
    ),
    (
      config.get('image_grid_pinpoints') not in (None, canvases),
      'image_grid_pinpoints differ between preprocessor_config.json and '
      'config.json',
    ),
    (
      any(side % tile for canvas in canvases for side in canvas),
      f'image_grid_pinpoints are {canvases}; expected multiples of {tile}',
    ),
    (
      preprocessor.get('resample', 3) != 3,
      f'resample is {preprocessor.get("resample")}; expected 3, bicubic',
    ),
    (
      kind != 'anyres_max' or not most.isdigit(),
      f'vision_aspect_ratio is {ratio}; expected anyres_max_ and a number',
    ),
  ):
    if wrong:
      raise ValueError(f'the checkpoint cannot be read: {message}')
  return Recipe(
    tile=tile,
    side=tile // vision['patch_size'],
    canvases=tuple((height, width) for height, width in canvases),
    most=int(most),
    mean=tuple(preprocessor['image_mean']),
    std=tuple(preprocessor['image_std']),
  )


def _require_fields(
  preprocessor: dict[str, Any], vision: dict[str, Any]
) -> None:
  """No defaults: those of transformers' classes are not a checkpoint's."""
  for fields, name, keys in (
    (
      preprocessor,
      'preprocessor_config.json',
      ('size', 'image_grid_pinpoints', 'image_mean', 'image_std'),
    ),
    (vision, 'config.json vision_config', ('image_size', 'patch_size')),
  ):
    for key in keys:
      if not fields.get(key):
        raise ValueError(f'{name} has no {key}')


def _json(path: pathlib.Path) -> dict[str, Any]:
  return json.loads(path.read_text('utf-8'))

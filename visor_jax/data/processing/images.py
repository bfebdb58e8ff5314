"""From an image to tiles, and from their patches to visual tokens.

LLaVA-OneVision's anyres_max_9. An image is seen twice: squashed into one tile,
the base view, and as large as is worth it on a canvas, which is cut into tiles.
Of the canvas's patches those beside the image are left out; more than `most`
tiles' worth are resampled; a newline ends each row. Height and width alone
decide all of it, so it is planned before an image is opened.
"""

import dataclasses
import functools
import json
import math
import pathlib

import numpy as np
import PIL.Image


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
    """P."""
    return self.side**2


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
  """How an image of one size becomes visual tokens.

  Attributes:
    recipe: the checkpoint's.
    size: height and width of the image in pixels.
    canvas: height and width in pixels; None for one of several images.
    rows: (start, stop) of the canvas's rows of patches that show the image.
    columns: (start, stop) of its columns.
    token_grid: (rows, columns) of tokens, after resampling, without newlines.
  """

  recipe: Recipe
  size: tuple[int, int]
  canvas: tuple[int, int] | None
  rows: tuple[int, int]
  columns: tuple[int, int]
  token_grid: tuple[int, int]

  @property
  def grid(self) -> tuple[int, int]:
    """Rows and columns of tiles on the canvas."""
    height, width = self.canvas or (0, 0)
    return height // self.recipe.tile, width // self.recipe.tile

  @property
  def tiles(self) -> int:
    """The base view and those of the canvas."""
    return 1 + math.prod(self.grid)

  @property
  def tokens(self) -> int:
    """V: the base view, and the canvas with a newline for each row."""
    if self.canvas is None:
      return self.recipe.patches + 1
    return self.recipe.patches + self.token_grid[0] * (self.token_grid[1] + 1)

  @property
  def gather_index(self) -> np.ndarray:
    """int32 [V, 4]; patches in order of tiles, tiles * P is the newline."""
    return self._arrays[0]

  @property
  def gather_weight(self) -> np.ndarray:
    """float32 [V, 4]; a token is the weighted sum of its sources."""
    return self._arrays[1]

  @functools.cached_property
  def _arrays(self):
    """Made when it is needed: rows are packed from counts alone."""
    gather = _untouched(self.recipe.patches + (self.canvas is None))
    if self.canvas is not None:
      gather = tuple(
        map(
          np.concatenate,
          zip(
            gather,
            _gather(
              self.recipe, self.canvas, self.rows, self.columns, self.token_grid
            ),
          ),
        )
      )
    for array in gather:
      array.flags.writeable = False
    return gather

  @property
  def resampled(self) -> bool:
    """The canvas shows the image in more patches than are kept."""
    return self.token_grid != (
      self.rows[1] - self.rows[0],
      self.columns[1] - self.columns[0],
    )


def read(folder) -> Recipe:
  """The recipe in a checkpoint's folder.

  Raises:
    FileNotFoundError: naming the file that is missing.
    ValueError: as `recipe` does.
  """
  folder = pathlib.Path(folder)
  load = lambda name: json.loads((folder / name).read_text('utf-8'))
  newer = folder / 'processor_config.json'  # where transformers 5 writes it
  inner = load(newer.name).get('image_processor') if newer.exists() else None
  return recipe(inner or load('preprocessor_config.json'), load('config.json'))


def recipe(preprocessor: dict, config: dict) -> Recipe:
  """The recipe that preprocessor_config.json and config.json give.

  Raises:
    ValueError: they lack a field, contradict each other or ask for something
      else than anyres_max with bicubic tiles.
  """
  vision = config.get('vision_config', {})
  # No defaults: those of transformers' classes are not a checkpoint's.
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
    tile,
    tile // vision['patch_size'],
    tuple(map(tuple, canvases)),
    int(most),
    tuple(preprocessor['image_mean']),
    tuple(preprocessor['image_std']),
  )


@functools.lru_cache(maxsize=512)
def plan(recipe: Recipe, height: int, width: int, alone: bool = True) -> Plan:
  """The plan of an image, from its size alone; plans are cached.

  Args:
    recipe: the checkpoint's.
    height: of the image in pixels.
    width: likewise.
    alone: the image is its sample's only one. One of several has the base view
      and a single newline.
  """
  canvas, rows, columns, token_grid = None, (0, 0), (0, 0), (0, 0)
  if alone:
    canvas = max(recipe.canvases, key=lambda c: _worth(c, height, width))
    rows, columns = _shown(recipe, canvas, height, width)
    token_grid = rows[1] - rows[0], columns[1] - columns[0]
    excess = math.sqrt(math.prod(token_grid) / (recipe.most * recipe.patches))
    if excess > 1.1:
      token_grid = int(token_grid[0] // excess), int(token_grid[1] // excess)
  return Plan(recipe, (height, width), canvas, rows, columns, token_grid)


def plans(recipe: Recipe, sizes) -> list[Plan]:
  """The plans of all images of a sample, of (height, width) each."""
  return [plan(recipe, *size, alone=len(sizes) == 1) for size in sizes]


def _worth(canvas, height, width):
  """Pixels of the image that a canvas can show, then pixels not wasted."""
  scale = min(canvas[1] / width, canvas[0] / height)
  shown = min(int(width * scale) * int(height * scale), width * height)
  return shown, shown - math.prod(canvas)


def _shown(recipe, canvas, height, width):
  """Rows and columns of patches that show the image, or a little more."""
  rows, columns = (side // recipe.tile * recipe.side for side in canvas)
  if width / height > columns / rows:
    cut = (rows - int(round(height * (columns / width), 7))) // 2
    return (cut, rows - cut), (0, columns)
  cut = (columns - int(round(width * (rows / height), 7))) // 2
  return (0, rows), (cut, columns - cut)


def _untouched(count):
  """The gather of the first `count` patches as they are."""
  gather_index = np.repeat(np.arange(count, dtype=np.int32)[:, None], 4, axis=1)
  return gather_index, np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1))


def _gather(recipe, canvas, rows, columns, token_grid):
  """The gather of a canvas: bilinear, each row ends with the newline."""
  across = canvas[1] // recipe.tile
  tiles = 1 + canvas[0] // recipe.tile * across
  y, y_weight = _taps(*rows, token_grid[0])
  x, x_weight = _taps(*columns, token_grid[1])
  # Patches are counted tile by tile, in each row by row; the base view is 0.
  y = (y // recipe.side * across + 1) * recipe.patches + (
    y % recipe.side * recipe.side
  )
  x = x // recipe.side * recipe.patches + x % recipe.side
  gather_index = np.full(
    (token_grid[0], token_grid[1] + 1, 2, 2), tiles * recipe.patches, np.int32
  )
  gather_index[:, :-1] = y[:, None, :, None] + x[:, None, :]
  gather_weight = np.zeros(gather_index.shape, np.float32)
  gather_weight[:, :-1] = y_weight[:, None, :, None] * x_weight[:, None, :]
  gather_weight[:, -1, 0, 0] = 1
  return gather_index.reshape(-1, 4), gather_weight.reshape(-1, 4)


def _taps(start, stop, count):
  """`count` tokens from patches start..stop of an axis, two patches for each.

  Half-pixel centres, no antialias: torch's `interpolate`, to the last bit where
  its float32 positions are rounded once (fused multiply-add).
  """
  scale = np.float32(stop - start) / np.float32(max(count, 1))
  at = ((np.arange(count) + 0.5) * np.float64(scale) - 0.5).astype(np.float32)
  low = at.astype(np.int32)  # 0 at least: tokens are never more than patches
  high = np.minimum(low + 1, stop - start - 1)
  share = at - low.astype(np.float32)
  return (start + np.stack([low, high], 1), np.stack([1 - share, share], 1))


def tiles(image: PIL.Image.Image, plan: Plan) -> np.ndarray:
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
  out = np.empty((plan.tiles, side, side, 3), np.uint8)
  out[0] = image.resize((side, side), bicubic)
  if plan.canvas is not None:
    height, width = _fit(plan.canvas, *plan.size)
    top, left = (plan.canvas[0] - height) // 2, (plan.canvas[1] - width) // 2
    picture = image.resize((width, height), bicubic)
    for i, (row, column) in enumerate(np.ndindex(*plan.grid), start=1):
      # What `crop` takes from beside the picture is 0, which is the padding.
      y, x = row * side - top, column * side - left
      out[i] = picture.crop((x, y, x + side, y + side))
  return out


def _fit(canvas, height, width):
  """Height and width of the image where it fills the canvas one way."""
  across, down = canvas[1] / width, canvas[0] / height
  if across < down:
    return min(math.ceil(height * across), canvas[0]), canvas[1]
  return canvas[0], min(math.ceil(width * down), canvas[1])


def _square(image, mean):
  """The image amid the mean colour."""
  side = max(image.size)
  square = PIL.Image.new('RGB', (side, side), tuple(int(m * 255) for m in mean))
  square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
  return square

"""From the size of an image to tiles and visual tokens, before it is opened.

LLaVA-OneVision's anyres_max_9. An image is seen twice: squashed into one tile,
the base view, and as large as is worth it on a canvas, which is cut into tiles.
Of the canvas's patches those beside the image are left out; more than `most`
tiles' worth are resampled; a newline ends each row. Height and width alone
decide all of it.
"""

from collections.abc import Sequence
import dataclasses
import functools
import math

import numpy as np

from visor_jax.families.llava_onevision import recipe as recipe_lib

Span = tuple[int, int]  # start and stop

# int32 [V, 4] and float32 [V, 4], see Plan.
Gather = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
  """How an image of one size becomes visual tokens.

  Attributes:
    recipe: the checkpoint's.
    size: height and width of the image in pixels.
    canvas: height and width in pixels; None for one of several images.
    rows: the canvas's rows of patches that show the image.
    columns: its columns.
    token_grid: (rows, columns) of tokens, after resampling, without newlines.
  """

  recipe: recipe_lib.Recipe
  size: tuple[int, int]
  canvas: tuple[int, int] | None
  rows: Span
  columns: Span
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
  def tile_grid(self) -> np.ndarray:
    """int32 [tiles, 2]; tiles stand alone."""
    return np.zeros((self.tiles, 2), np.int32)

  @property
  def gather_index(self) -> np.ndarray:
    """int32 [V, 4]; patches in order of tiles, tiles * P is the newline."""
    return self._gather[0]

  @property
  def gather_weight(self) -> np.ndarray:
    """float32 [V, 4]; a token is the weighted sum of its sources."""
    return self._gather[1]

  @functools.cached_property
  def _gather(self) -> Gather:
    """Made when it is needed: rows are packed from counts alone."""
    index, weight = _untouched(self.recipe.patches + (self.canvas is None))
    if self.canvas is not None:
      canvas_index, canvas_weight = _gather_canvas(self, self.canvas)
      index = np.concatenate([index, canvas_index])
      weight = np.concatenate([weight, canvas_weight])
    for array in (index, weight):
      array.flags.writeable = False
    return index, weight

  @property
  def resampled(self) -> bool:
    """The canvas shows the image in more patches than are kept."""
    return self.token_grid != (
      self.rows[1] - self.rows[0],
      self.columns[1] - self.columns[0],
    )


@functools.lru_cache(maxsize=512)
def plan(
  recipe: recipe_lib.Recipe, height: int, width: int, alone: bool = True
) -> Plan:
  """The plan of an image, from its size alone; plans are cached.

  Args:
    recipe: the checkpoint's.
    height: of the image in pixels.
    width: likewise.
    alone: the image is its sample's only one. One of several has the base view
      and a single newline.
  """
  if not alone:
    return Plan(recipe, (height, width), None, (0, 0), (0, 0), (0, 0))
  canvas = max(recipe.canvases, key=lambda c: _worth(c, height, width))
  rows, columns = _shown(recipe, canvas, height, width)
  token_grid = rows[1] - rows[0], columns[1] - columns[0]
  excess = math.sqrt(math.prod(token_grid) / (recipe.most * recipe.patches))
  if excess > 1.1:
    token_grid = int(token_grid[0] // excess), int(token_grid[1] // excess)
  return Plan(recipe, (height, width), canvas, rows, columns, token_grid)


def plans(
  recipe: recipe_lib.Recipe, sizes: Sequence[tuple[int, int]]
) -> list[Plan]:
  """The plans of all images of a sample, of (height, width) each."""
  alone = len(sizes) == 1
  return [plan(recipe, height, width, alone) for height, width in sizes]


def _worth(canvas: tuple[int, int], height: int, width: int) -> tuple[int, int]:
  """Pixels of the image that a canvas can show, then pixels not wasted."""
  scale = min(canvas[1] / width, canvas[0] / height)
  shown = min(int(width * scale) * int(height * scale), width * height)
  return shown, shown - math.prod(canvas)


def _shown(
  recipe: recipe_lib.Recipe, canvas: tuple[int, int], height: int, width: int
) -> tuple[Span, Span]:
  """Rows and columns of patches that show the image, or a little more."""
  rows, columns = (side // recipe.tile * recipe.side for side in canvas)
  if width / height > columns / rows:
    cut = (rows - int(round(height * (columns / width), 7))) // 2
    return (cut, rows - cut), (0, columns)
  cut = (columns - int(round(width * (rows / height), 7))) // 2
  return (0, rows), (cut, columns - cut)


def _untouched(count: int) -> Gather:
  """The gather of the first `count` patches as they are."""
  index = np.repeat(
    np.arange(count, dtype=np.int32)[:, None], recipe_lib.TAPS, axis=1
  )
  return index, np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1))


def _gather_canvas(plan: Plan, canvas: tuple[int, int]) -> Gather:
  """The gather of a canvas: bilinear, each row ends with the newline."""
  recipe, taps = plan.recipe, recipe_lib.TAPS
  side, patches = recipe.side, recipe.patches
  across = canvas[1] // recipe.tile
  rows, columns = plan.token_grid
  y, y_weight = _taps(*plan.rows, rows)
  x, x_weight = _taps(*plan.columns, columns)
  # Patches are counted tile by tile, in each row by row; the base view is 0.
  y = (y // side * across + 1) * patches + (y % side * side)
  x = x // side * patches + x % side
  index = np.full((rows, columns + 1, 2, 2), plan.tiles * patches, np.int32)
  index[:, :-1] = y[:, None, :, None] + x[:, None, :]
  weight = np.zeros(index.shape, np.float32)
  weight[:, :-1] = y_weight[:, None, :, None] * x_weight[:, None, :]
  weight[:, -1, 0, 0] = 1
  return index.reshape(-1, taps), weight.reshape(-1, taps)


def _taps(start: int, stop: int, count: int) -> Gather:
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

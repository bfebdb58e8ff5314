"""From an image of any size to tiles, each of which is a visual token."""

import dataclasses
import functools
import math

import numpy as np
import PIL.Image

from visor_jax.families.qwen2_vl import recipe as recipe_lib

_LONGEST = 200  # times as long as wide, at most


@dataclasses.dataclass(frozen=True)
class Plan:
  """How an image becomes visual tokens.

  Attributes:
    rows: of tiles.
    columns: likewise.
    window: tiles to a side of a square, which the tower gets one after the
      other; 0 for an image row by row.
  """

  rows: int
  columns: int
  window: int = 0

  @property
  def tiles(self) -> int:
    """How many it is cut to."""
    return self.rows * self.columns

  @property
  def tokens(self) -> int:
    """V, the tiles."""
    return self.tiles

  @functools.cached_property
  def tile_grid(self) -> np.ndarray:
    """int32 [tiles, 2]; where in the image they stand."""
    row, column = np.divmod(np.arange(self.tiles, dtype=np.int32), self.columns)
    side = self.window or max(self.rows, self.columns)
    order = np.lexsort((column, row, column // side, row // side))
    return np.stack([row[order], column[order]], axis=1)

  @functools.cached_property
  def gather_index(self) -> np.ndarray:
    """int32 [V, 1]; the tiles, row by row."""
    row, column = self.tile_grid.T
    return np.argsort(row * self.columns + column).astype(np.int32)[:, None]

  @functools.cached_property
  def gather_weight(self) -> np.ndarray:
    """float32 [V, 1]; all of each."""
    return np.ones((self.tiles, 1), np.float32)


@functools.lru_cache(maxsize=512)
def plan(recipe: recipe_lib.Recipe, height: int, width: int) -> Plan:
  """The plan of an image, from its size alone, as transformers' smart_resize.

  Raises:
    ValueError: it is too thin.
  """
  longest, shortest = max(height, width), min(height, width)
  if longest > _LONGEST * shortest:
    raise ValueError(
      f'an image of {height} x {width} is too thin; its sides may be '
      f'1 : {_LONGEST}'
    )
  tile = recipe.tile
  rows, columns = round(height / tile), round(width / tile)
  pixels = rows * columns * tile**2
  if pixels > recipe.most:
    scale = math.sqrt(height * width / recipe.most)
    rows, columns = (
      max(1, math.floor(side / scale / tile)) for side in (height, width)
    )
  elif pixels < recipe.least:
    scale = math.sqrt(recipe.least / (height * width))
    rows, columns = (math.ceil(side * scale / tile) for side in (height, width))
  return Plan(rows, columns, recipe.window)


def tiles(image: PIL.Image.Image, plan: Plan, tile: int) -> np.ndarray:
  """The tiles of an image, uint8 [tiles, tile, tile, 3].

  Args:
    image: RGB.
    plan: of its size.
    tile: height and width of a tile in pixels.
  """
  rows, columns = plan.rows, plan.columns
  image = image.resize(
    (columns * tile, rows * tile), PIL.Image.Resampling.BICUBIC
  )
  pixels = np.asarray(image).reshape(rows, tile, columns, tile, 3)
  row, column = plan.tile_grid.T
  return pixels.swapaxes(1, 2)[row, column]

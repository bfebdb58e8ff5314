"""Tiles that equal one before them, dropped before the tower (PixelPrune).

Of images whose tiles are visual tokens and say where they stand. Which are left
depends on the pixels: plans made of sizes alone say how many there are at most.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np
import PIL.Image

from visor_jax.data.processing import processed
from visor_jax.families import wrapped


@dataclasses.dataclass(frozen=True)
class Processor(wrapped.Processor):
  """A protocols.Processor of images without what their neighbours foretell.

  Raises:
    ValueError: tiles have more than one patch.
  """

  def __post_init__(self) -> None:
    if self.patches != 1:
      raise ValueError(
        'pixelprune: a tile of this model is '
        f'{self.patches} patches, which the tower takes together; it goes with '
        'families whose tiles are visual tokens'
      )

  def cut(
    self,
    opened: Sequence[PIL.Image.Image],
    sizes: Sequence[tuple[int, int]],
  ) -> Sequence[processed.CutImage]:
    """What the images of a sample become."""
    return [_pruned(*image) for image in self.processor.cut(opened, sizes)]


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
  """Some tiles of an image, each a visual token; an ImagePlan.

  Attributes:
    tile_grid: int32 [tiles, 2], see batch.Batch.
    gather_index: int32 [V, 1].
    gather_weight: float32 [V, 1].
  """

  tile_grid: np.ndarray
  gather_index: np.ndarray
  gather_weight: np.ndarray

  @property
  def tiles(self) -> int:
    """How many are left."""
    return len(self.tile_grid)

  @property
  def tokens(self) -> int:
    """V, likewise."""
    return len(self.tile_grid)


def _pruned(tiles: np.ndarray, plan: processed.ImagePlan) -> processed.CutImage:
  in_order = plan.gather_index[:, 0]
  rows, columns = plan.tile_grid.max(axis=0) + 1
  grid = tiles[in_order].reshape(rows, columns, -1)
  stays = np.zeros(len(tiles), bool)
  stays[in_order] = ~foretold(grid).ravel()
  # What stands behind the image counts on from its last tile.
  stays[in_order[-1]] = True
  number = np.cumsum(stays) - 1
  left = in_order[stays[in_order]]
  return processed.CutImage(
    tiles[stays],
    Plan(
      plan.tile_grid[stays],
      number[left][:, None].astype(np.int32),
      plan.gather_weight[stays[in_order]],
    ),
  )


def foretold(grid: np.ndarray) -> np.ndarray:
  """Whether a tile equals the neighbour by which it is predicted.

  That is the left one; the one above where the left one equals that above it
  and the edge between the two above goes on (LOCO-I, of JPEG-LS).

  Args:
    grid: [rows, columns, pixels].

  Returns:
    bool [rows, columns]; the first is never foretold.
  """
  as_left, as_above = (np.zeros(grid.shape[:2], bool) for _ in range(2))
  as_left[:, 1:] = (grid[:, 1:] == grid[:, :-1]).all(axis=2)
  as_above[1:] = (grid[1:] == grid[:-1]).all(axis=2)
  by_above = np.zeros_like(as_above)
  by_above[1:, 0] = True
  by_above[1:, 1:] = as_above[1:, :-1] & ~as_left[:-1, 1:]
  return np.where(by_above, as_above, as_left)

"""The contract between data and model.

A row holds T text slots and V visual slots, for one or more conversations
(segments). Text and visual slots live in two arrays, because most layers only
touch the text; `*_place` says where a slot stands in the row's own sequence of
T + V, so a SELF layer can put both in order. Every number 0 .. T+V-1 is the
place of exactly one slot; a segment's places are contiguous; padding (segment
0) comes last. Text slots are in order of their places, and so are visual ones.

Numpy on the way from data, global jax arrays once placed on the mesh.
"""

import dataclasses
from typing import Any

Array = Any  # numpy here, jax in the model: this floor imports neither
Row = dict[str, Array]  # the fields of a Batch for one row, without its axis


@dataclasses.dataclass(frozen=True)
class RowShape:
  """Slots of a row.

  Attributes:
    text: T.
    visual: V.
    tiles: I.
    prompts: R.
    tile: height and width of a tile in pixels.
    patches: P.
    taps: K, the patches summed into a visual token.
  """

  text: int
  visual: int
  tiles: int
  prompts: int
  tile: tuple[int, int]
  patches: int
  taps: int = 1


def image_tiles(tile_grid: Array) -> tuple[int, ...]:
  """How many tiles each image has that the tower sees as one.

  Args:
    tile_grid: of a row, numpy [I, 2]; of a tile that stands alone it is 1.
  """
  begins = (tile_grid == 0).all(axis=1).nonzero()[0].tolist()
  ends = [*begins[1:], len(tile_grid)]
  return tuple(end - begin for begin, end in zip(begins, ends))


@dataclasses.dataclass(frozen=True)
class Batch:
  """B rows in fixed shapes; I tiles, P patches a tile, R prompts a row.

  Attributes:
    tokens: int32 [B, T].
    text_segment: int32 [B, T]; 0 is padding.
    text_place: int32 [B, T].
    answer: bool [B, T]; the token is one that the model should produce.
    visual_segment: int32 [B, V]; 0 is padding.
    visual_place: int32 [B, V].
    tiles: uint8 [B, I, height, width, 3].
    tile_grid: int32 [B, I, 2], row and column of a tile in its image where
      tiles are as small as visual tokens, P = 1, and images as high and wide as
      they like: 0, 0 begins one. All zeros where tiles stand alone.
    gather_index: int32 [B, V, K]; a visual slot is the weighted sum of K
      patches out of I * P, in order of tiles; I * P itself is the newline
      embedding. K is 4 where tiles were resized (bilinear), 1 where not.
    gather_weight: float32 [B, V, K].
    prompt_segment: int32 [B, R]; 0 is padding. A routing token reads the
      prompt that ends at `prompt_place`.
    prompt_place: int32 [B, R]; the place of the last token of the prompt.
  """

  tokens: Array
  text_segment: Array
  text_place: Array
  answer: Array
  visual_segment: Array
  visual_place: Array
  tiles: Array
  tile_grid: Array
  gather_index: Array
  gather_weight: Array
  prompt_segment: Array
  prompt_place: Array

  def map(self, f) -> 'Batch':
    """f of every array, as a Batch."""
    return Batch(**{k: f(v) for k, v in self.fields().items()})

  def visual(self) -> Array:
    """Visual tokens of each row, [B]."""
    return (self.visual_segment > 0).sum(axis=1)

  def text(self) -> Array:
    """Text tokens of each row, [B]."""
    return (self.text_segment > 0).sum(axis=1)

  def used(self, patches: int) -> Array:
    """Tiles of each row, [B], of so many patches: the rest is padding."""
    newline = self.tiles.shape[1] * patches
    looks = (self.visual_segment > 0)[..., None] & (self.gather_index < newline)
    return ((self.gather_index // patches + 1) * looks).max(axis=(1, 2))

  def images(self, patches: int) -> list[tuple[int, ...]]:
    """`image_tiles` of each row, without padding."""
    used = self.used(patches)
    return [image_tiles(grid[:n]) for grid, n in zip(self.tile_grid, used)]

  def fields(self) -> dict[str, Array]:
    return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}


NAMES = tuple(f.name for f in dataclasses.fields(Batch))

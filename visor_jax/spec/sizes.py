"""Widths and depths of a base model; families name theirs."""

import dataclasses
from typing import Any

Colours = tuple[float, float, float]  # of red, green and blue


@dataclasses.dataclass(frozen=True)
class Vision:
  """A vision tower.

  Attributes:
    width: of its layers; of the last stage where it has stages.
    depth: layers that run; a checkpoint may have more.
    heads: of a layer, or of a layer of the last stage.
    mlp: width of the MLP of a layer, or of a layer of the last stage.
    tile: height and width of a tile in pixels.
    patch: pixels to a side.
    norm_eps: of its norms.
    mean: pixels / 255 are normalised by it, on the device.
    std: likewise.
    merge: patches to a side that become one visual token.
    window: tiles to a side of the squares in which patches see each other; 0
      where they see all of their image.
    full_layers: those in which they do so whatever the window.
    stages: layers of each stage, where a tower has stages: from one to the next
      the width doubles, and rows and columns are halved.
  """

  width: int
  depth: int
  heads: int
  mlp: int
  tile: tuple[int, int]
  patch: int
  norm_eps: float = 1e-6
  mean: Colours = (0.5, 0.5, 0.5)
  std: Colours = (0.5, 0.5, 0.5)
  merge: int = 1
  window: int = 0
  full_layers: tuple[int, ...] = ()
  stages: tuple[int, ...] = ()

  @property
  def grid(self) -> tuple[int, int]:
    """Rows and columns of patches in a tile; a remainder is cut off.

    What is merged counts as one.
    """
    side = self.patch * self.merge
    return self.tile[0] // side, self.tile[1] // side

  @property
  def patches(self) -> int:
    """P of a tile."""
    return self.grid[0] * self.grid[1]

  def pairs(self, tiles: int, window: int = 0) -> int:
    """Patches that see each other, of tiles of one image, counted twice.

    What is merged is of images that are not cut: every patch sees all, or those
    of its window, and at the edge of an image a window counts whole.
    """
    if self.merge == 1:
      return tiles * self.patches**2
    seen = min(tiles, window**2) if window else tiles
    return tiles * seen * self.merge**4

  @property
  def features(self) -> int:
    """Width of a patch's features; behind stages it has doubled once more.

    Those that are merged stand side by side.
    """
    return self.width * (2 if self.stages else self.merge**2)


@dataclasses.dataclass(frozen=True)
class Language:
  """A decoder of layers with grouped key heads, as Qwen2's or Llama's."""

  width: int
  depth: int
  heads: int
  key_heads: int
  head_width: int
  mlp: int
  vocabulary: int = 152_000  # 151,936 padded as converted checkpoints are
  tied: bool = True  # the output head is the embedding
  rope_theta: float = 1e6
  norm_eps: float = 1e-6
  biases: bool = True  # of queries, keys and values; Llama has none
  # Of the frequencies of rotary embedding, how many turn by time, row and
  # column of a token; () where positions are one number.
  rope_sections: tuple[int, ...] = ()

  @property
  def axes(self) -> int:
    """Numbers of a position."""
    return len(self.rope_sections) or 1


@dataclasses.dataclass(frozen=True)
class Size:
  """A base model's, of both its parts."""

  vision: Vision
  language: Language


def from_json(values: dict[str, Any]) -> Size:
  """The size that dataclasses.asdict and JSON have been through."""
  vision = dict(values['vision'])
  for key in ('tile', 'stages', 'full_layers'):
    vision[key] = tuple(vision.get(key, ()))
  for key in ('mean', 'std'):
    colours = vision[key]  # older checkpoints have one number for all three
    vision[key] = tuple(colours if isinstance(colours, list) else [colours] * 3)
  language = dict(values['language'])
  language['rope_sections'] = tuple(language.get('rope_sections', ()))
  return Size(Vision(**vision), Language(**language))

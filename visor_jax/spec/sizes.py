"""Widths and depths of a base model; families name theirs."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Vision:
  """A vision tower of patches and layers, as SigLIP's."""

  width: int
  depth: int  # layers that run; a checkpoint may have more
  heads: int
  mlp: int
  tile: tuple[int, int]  # height, width of a tile in pixels
  patch: int  # pixels
  norm_eps: float = 1e-6
  mean: float = 0.5  # pixels / 255 are normalised by these on the device
  std: float = 0.5

  @property
  def grid(self) -> tuple[int, int]:
    """Rows and columns of patches in a tile; a remainder is cut off."""
    return self.tile[0] // self.patch, self.tile[1] // self.patch

  @property
  def patches(self) -> int:
    """P of a tile."""
    return self.grid[0] * self.grid[1]


@dataclasses.dataclass(frozen=True)
class Language:
  """A decoder of layers with grouped key heads, as Qwen2's."""

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


@dataclasses.dataclass(frozen=True)
class Size:
  """A base model's, of both its parts."""

  vision: Vision
  language: Language


def from_json(values: dict[str, Any]) -> Size:
  """The size that dataclasses.asdict and JSON have been through."""
  vision = values['vision'] | dict(tile=tuple(values['vision']['tile']))
  return Size(Vision(**vision), Language(**values['language']))

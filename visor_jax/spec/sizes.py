"""Named model sizes.

The LLaVA-OneVision sizes are those of Qwen2 with SigLIP-SO400M/14 at 384
pixels, see the `config.json` of the published checkpoints.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Vision:
  """A SigLIP-shaped vision tower."""

  width: int = 1152
  depth: int = 26  # layers that run; the last one of the checkpoint does not
  heads: int = 16
  mlp: int = 4304
  tile: tuple[int, int] = (384, 384)  # height, width of a tile in pixels
  patch: int = 14  # pixels
  norm_eps: float = 1e-6
  mean: float = 0.5  # pixels / 255 are normalised by these on the device
  std: float = 0.5

  @property
  def grid(self) -> tuple[int, int]:
    """Rows and columns of patches in a tile; a remainder is cut off."""
    return self.tile[0] // self.patch, self.tile[1] // self.patch

  @property
  def patches(self) -> int:
    return self.grid[0] * self.grid[1]


@dataclasses.dataclass(frozen=True)
class Language:
  """A Qwen2-shaped decoder."""

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
  vision: Vision
  language: Language


SIZES = {
  # For the built-in suite: a patch is a digit, a tile a frame of 5 x 2.
  'digits': Size(
    Vision(64, 0, 4, 128, tile=(40, 16), patch=8),
    Language(64, 6, 4, 2, 16, 128, vocabulary=64, rope_theta=1e4),
  ),
  '0.5b': Size(Vision(), Language(896, 24, 14, 2, 64, 4864)),
  '1.5b': Size(Vision(), Language(1536, 28, 12, 2, 128, 8960)),
  '7b': Size(Vision(), Language(3584, 28, 28, 4, 128, 18944, tied=False)),
}


def get(name: str) -> Size:
  """The size of that name; an unknown one is a ValueError that lists them."""
  if name not in SIZES:
    raise ValueError(f'model.size is "{name}"; sizes are {sorted(SIZES)}')
  return SIZES[name]


def from_json(read: dict) -> Size:
  """The size that dataclasses.asdict and JSON have been through."""
  vision = read['vision'] | dict(tile=tuple(read['vision']['tile']))
  return Size(Vision(**vision), Language(**read['language']))

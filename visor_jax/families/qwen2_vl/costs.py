"""Multiply-adds of tower and merger; see flops/cost.py for what counts."""

from visor_jax.spec import sizes


def tower(vision: sizes.Vision, patches: bool, tiles: int) -> int:
  """Of the vision tower on the tiles of one image.

  Args:
    vision: its widths and depth.
    patches: whether the products that make patches of pixels count, of two
      frames.
    tiles: how many.
  """
  p, d = tiles * vision.merge**2, vision.width
  matrices = 3 if vision.window else 2  # of an MLP
  linear = p * d * (4 * d + matrices * vision.mlp)
  full = len(vision.full_layers) if vision.window else vision.depth
  pairs = full * vision.pairs(tiles)
  pairs += (vision.depth - full) * vision.pairs(tiles, vision.window)
  return (
    vision.depth * linear
    + 2 * pairs * d
    + patches * p * 2 * 3 * vision.patch**2 * d
  )


def merger(size: sizes.Size) -> int:
  """Of the two linear layers on the patches of one tile, which is a token."""
  features = size.vision.features
  return features * (features + size.language.width)

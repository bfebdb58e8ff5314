"""Multiply-adds of tower and merger; see flops/cost.py for what counts."""

from visor_jax.spec import sizes


def tower(vision: sizes.Vision, patches: bool, tiles: int) -> int:
  """Of the vision tower on the tiles of one image, all patches of which meet.

  Args:
    vision: its widths and depth.
    patches: whether the products that make patches of pixels count, of two
      frames.
    tiles: how many.
  """
  p, d = tiles * vision.merge**2, vision.width
  layer = p * d * (4 * d + 2 * vision.mlp) + 2 * vision.pairs(tiles) * d
  return vision.depth * layer + patches * p * 2 * 3 * vision.patch**2 * d


def merger(size: sizes.Size) -> int:
  """Of the two linear layers on the patches of one tile, which is a token."""
  features = size.vision.features
  return features * (features + size.language.width)

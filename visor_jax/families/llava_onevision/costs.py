"""Multiply-adds of the vision tower; see flops/cost.py for what counts."""

from visor_jax.spec import sizes


def tower(vision: sizes.Vision, patches: bool, tiles: int) -> int:
  """Of the vision tower on tiles.

  Args:
    vision: its widths and depth.
    patches: whether the products that make patches of pixels count.
    tiles: how many.
  """
  p, d = vision.patches, vision.width
  layer = p * d * (4 * d + 2 * vision.mlp) + 2 * p * p * d
  macs = vision.depth * layer + patches * p * 3 * vision.patch**2 * d
  return tiles * macs

"""Multiply-adds of the vision tower; see flops/cost.py for what counts.

A convolution counts as the products that it stands for.
"""

from visor_jax.spec import sizes

_SMALL, _LARGE = 3 * 3, 7 * 7  # pixels of kernels
_ATTENTION = 2  # stages that have it, the last ones


def tower(vision: sizes.Vision, patches: bool, tiles: int) -> int:
  """Of the vision tower on tiles.

  Args:
    vision: its widths and depth.
    patches: whether the stem counts, which makes patches of pixels.
    tiles: how many.
  """
  last = len(vision.stages) - 1
  macs = patches * _stem(vision.patches << (2 * last), vision.width >> last)
  for stage, depth in enumerate(vision.stages):
    pixels = vision.patches << 2 * (last - stage)
    width = vision.width >> (last - stage)
    attends = last - stage < _ATTENTION
    layer = pixels * width * (_LARGE + 8 * width)  # the MLP
    if attends:
      layer += pixels * width * (4 * width + 2 * pixels)
    else:
      layer += pixels * width * _SMALL
    macs += depth * layer
    macs += (stage > 0) * pixels * width * (_LARGE + width)
    macs += attends * pixels * width * _LARGE
  features = vision.features
  macs += features * (_SMALL * vision.patches + 2 * (features // 16))
  return tiles * macs


def _stem(pixels: int, width: int) -> int:
  """Of two convolutions and a linear layer that leave so many pixels."""
  return pixels * width * (4 * _SMALL * 3 + _SMALL + width)

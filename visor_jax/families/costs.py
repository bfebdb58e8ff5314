"""Multiply-adds of what families share; see flops/cost.py for what counts."""

from visor_jax.spec import sizes


def connector(size: sizes.Size) -> int:
  """Of a connector of two linear layers on the patches of one tile."""
  vision, language = size.vision, size.language
  return vision.patches * language.width * (vision.features + language.width)

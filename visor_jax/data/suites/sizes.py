"""Models for the built-in suite, small enough for one CPU.

A patch is a digit, a tile a frame of 5 x 2.
"""

from visor_jax.spec import sizes

SIZES = {
  'digits': sizes.Size(
    sizes.Vision(64, 0, 4, 128, tile=(40, 16), patch=8),
    sizes.Language(64, 6, 4, 2, 16, 128, vocabulary=64, rope_theta=1e4),
  ),
}

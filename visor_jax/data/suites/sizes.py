"""Models for the built-in suites, small enough for one CPU.

Of digits a patch is a digit, a tile a frame of 5 x 2; of pages a tile is a
line, and the tower sees no other.
"""

from visor_jax.spec import sizes

# Light background is nothing, ink far from it.
_LIGHT, _SPREAD = (0.9, 0.9, 0.9), (0.3, 0.3, 0.3)

SIZES = {
  'digits': sizes.Size(
    sizes.Vision(64, 0, 4, 128, tile=(40, 16), patch=8),
    sizes.Language(64, 6, 4, 2, 16, 128, vocabulary=64, rope_theta=1e4),
  ),
  'pages': sizes.Size(
    sizes.Vision(
      64, 2, 4, 128, tile=(16, 128), patch=16, mean=_LIGHT, std=_SPREAD
    ),
    sizes.Language(64, 6, 4, 2, 32, 128, vocabulary=96, rope_theta=1e6),
  ),
  'pages-448': sizes.Size(
    sizes.Vision(
      256, 2, 8, 512, tile=(32, 448), patch=32, mean=_LIGHT, std=_SPREAD
    ),
    sizes.Language(256, 8, 8, 4, 32, 512, vocabulary=96, rope_theta=1e4),
  ),
}

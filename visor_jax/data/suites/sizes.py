"""Models for the built-in suites, small enough for one CPU.

Of digits a patch is a digit, a tile a frame of 5 x 2; of pages a tile is a
line, and the tower sees no other.
"""

from visor_jax.spec import sizes

SIZES = {
  'digits': sizes.Size(
    sizes.Vision(64, 0, 4, 128, tile=(40, 16), patch=8),
    sizes.Language(64, 6, 4, 2, 16, 128, vocabulary=64, rope_theta=1e4),
  ),
  # Light paper is nothing, ink far from it.
  'pages': sizes.Size(
    sizes.Vision(
      96, 2, 4, 192, tile=(16, 128), patch=16, mean=(0.9,) * 3, std=(0.3,) * 3
    ),
    sizes.Language(96, 6, 4, 2, 24, 192, vocabulary=96, rope_theta=1e4),
  ),
}

"""Recipes of images, sizes to cut, and pictures of any size."""

import numpy as np
import PIL.Image

from tests import llava_files

# Tile, patch: as published; with a rest that no patch covers; with an even
# number of patches, where a thin image may keep no row at all.
TILES = {'real': (384, 14), 'rest': (28, 8), 'even': (32, 8)}
CANVASES = {
  name: llava_files.canvases(tile) for name, (tile, _) in TILES.items()
}
CANVASES['even'].reverse()  # or the first of equals is always the smallest
# The last ones: little too much to keep (excess 1.13); an edge of patches that
# `round` moves.
SIZES = (
  (1, 1),
  (384, 384),
  (480, 640),
  (640, 480),
  (899, 1024),
  (1080, 1920),
  (2200, 1700),
  (1310, 1072),
  (1, 4000),
  (4000, 1),
  (3000, 4000),
  (27, 700),
  (700, 28),
  (2305, 2303),
  (2162, 686),
  (47, 423),
  (88, 110),
)
SEVERAL = (40, 91), (91, 40), (25, 25), (1, 60)  # of one sample


def recipe(name, most=9):
  return llava_files.recipe(
    *TILES[name], CANVASES[name], vision_aspect_ratio=f'anyres_max_{most}'
  )


def draw(seed, count, largest=4000):
  """Sizes from 1 to `largest`, every magnitude as likely as another."""
  sides = np.random.default_rng(seed).uniform(0, np.log(largest), (count, 2))
  return [tuple(map(int, np.exp(s))) for s in sides]


def picture(height, width, seed=0):
  """Smooth colours with noise, so that no filter can hide a shift."""
  y, x = np.mgrid[:height, :width]
  noise = np.random.default_rng(seed).integers(0, 40, (height, width, 3))
  waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 31)], -1)
  return PIL.Image.fromarray((107 + 107 * waves + noise).astype(np.uint8))

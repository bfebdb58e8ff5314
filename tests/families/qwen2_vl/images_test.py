"""Tiles of images of any size: pixels and counts of transformers."""

import numpy as np
import pytest

from tests import agreement
from tests import llava
from tests import qwen2_vl
from visor_jax.families.qwen2_vl import images
from visor_jax.families.qwen2_vl import recipe
from visor_jax.families.qwen2_vl import record
from visor_jax.models import vision
from visor_jax.spec import sizes

# A side under half a tile; rounded to even both ways; larger and smaller than
# allowed; as thin as allowed.
SIZES = (1, 1), (5, 40), (18, 30), (42, 70), (300, 400), (900, 13), (2, 400)


def check(size, most=qwen2_vl.MOST):
  """Pixels as the tower gets them, in the order of the patches of blocks."""
  image, patch = llava.picture(*size), qwen2_vl.PATCH
  images_may = recipe.Recipe(2 * patch, qwen2_vl.LEAST, most)
  plan = images.plan(images_may, *size)
  want = qwen2_vl.pixels([image], most=most)
  assert want['image_grid_thw'].tolist() == [
    [1, 2 * plan.rows, 2 * plan.columns]
  ]
  tower = sizes.Vision(
    24, 1, 3, 48, (12, 12), patch, mean=images_may.mean, std=images_may.std
  )
  tiles = images.tiles(image, plan, images_may.tile)
  x = np.asarray(vision.normalized(tiles, tower, 'float32'))
  x = x.reshape(-1, 2, patch, 2, patch, 3).transpose(0, 1, 3, 5, 2, 4)
  x = x.reshape(-1, 3, 1, patch, patch).repeat(2, axis=2)  # of two frames
  np.testing.assert_allclose(
    x.reshape(len(x), -1), want['pixel_values'], atol=1e-6, err_msg=str(size)
  )


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_pixels_and_counts_are_transformers(size):
  check(size)


@pytest.mark.drill
def test_pixels_and_counts_are_transformers_at_200_sizes():
  checked = 0
  for size in agreement.sizes(np.random.default_rng(0), 400):
    if max(size) <= 200 * min(size) and checked < 200:
      check(size, most=(qwen2_vl.MOST, 500 * 12**2)[checked % 2])
      checked += 1
  assert checked == 200
  print('200 sizes, every pixel the same')


@pytest.mark.parametrize(
  'size,most,tokens',
  [
    ((336, 336), 16384, 144),
    ((480, 640), 16384, 391),
    ((1080, 1920), 16384, 2691),
    ((1080, 1920), 1280, 1222),
    ((2200, 1700), 16384, 4819),
    ((4000, 4000), 16384, 16384),
    ((4000, 4000), 1280, 1225),
    ((1, 1), 16384, 4),
  ],
)
def test_tokens_of_published_checkpoints(size, most, tokens):
  """With the limit of their files, and with that of transformers' class."""
  known = recipe.Recipe(28, recipe.PUBLISHED.least, most * 28**2)
  assert images.plan(known, *size).tokens == tokens
  if known == recipe.PUBLISHED:
    assert record.FAMILY.plan_image(*size, None).tokens == tokens


def test_a_tile_is_a_token_and_knows_where_it_stands():
  plan = images.Plan(2, 3)
  assert (plan.tiles, plan.tokens) == (6, 6)
  assert plan.gather_index.tolist() == [[k] for k in range(6)]
  assert plan.gather_weight.tolist() == [[1]] * 6
  assert plan.tile_grid.tolist() == [*map(list, np.ndindex(2, 3))]


def test_the_tower_gets_windows_and_the_decoder_rows():
  plan = images.Plan(3, 5, window=2)
  at = [*map(tuple, plan.tile_grid)]
  assert at[:4] == [(0, 0), (0, 1), (1, 0), (1, 1)]  # a whole window
  assert at[8:10] == [(0, 4), (1, 4)]  # and what is left of one at an edge
  rows = [at[k] for k in plan.gather_index[:, 0]]
  assert rows == [*np.ndindex(3, 5)]
  image = llava.picture(36, 60)
  pixels = images.tiles(image, plan, 12)
  by_rows = images.tiles(image, images.Plan(3, 5), 12)
  np.testing.assert_array_equal(pixels[plan.gather_index[:, 0]], by_rows)


def test_an_image_that_is_too_thin_is_named():
  with pytest.raises(ValueError, match='2 x 401 is too thin; .* 1 : 200'):
    images.plan(recipe.PUBLISHED, 2, 401)

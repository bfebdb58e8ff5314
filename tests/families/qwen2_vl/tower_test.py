"""The tower alone: its images stay apart, and its cost is what it computes.

That it says what transformers' says is seen in logits, in record_test.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import multiply_adds
from tests import rows
from visor_jax.families.qwen2_vl import costs
from visor_jax.families.qwen2_vl import images
from visor_jax.families.qwen2_vl import modules
from visor_jax.families.qwen2_vl import sizes
from visor_jax.families.qwen2_vl import tower
from visor_jax.models import compute as compute_lib
from visor_jax.spec import sizes as sizes_lib

VISION = sizes_lib.Vision(
  24, 2, 3, 48, (12, 12), 6, mean=sizes.MEAN, std=sizes.STD, merge=2
)
WINDOWED = dataclasses.replace(VISION, window=4, full_layers=(1,))
SIZE = sizes_lib.Size(VISION, sizes_lib.Language(32, 1, 1, 1, 32, 8))


def tiles(*plans, seed=0):
  """A row of images, and where their tiles stand."""
  grid = np.concatenate([plan.tile_grid for plan in plans])
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (1, len(grid), 12, 12, 3), np.uint8), grid[None]


@pytest.mark.parametrize('vision', [VISION, WINDOWED])
def test_an_image_hears_nothing_of_others_in_its_row(vision):
  """In chunks of queries; its ratings neither."""
  plans = (images.Plan(*sides, vision.window) for sides in ((3, 4), (2, 6)))
  pixels, grid = tiles(*plans)
  module = tower.Tower(vision, compute_lib.Compute(chunk=20))
  params = jax.jit(module.init)(jax.random.key(0), pixels, grid)
  run = rows.jit(functools.partial(module.apply, params, rate=True))
  both = run(pixels, grid)
  for image in (slice(0, 12), slice(12, 24)):
    alone = run(pixels[:, image], grid[:, image])
    for a, b in zip(both, alone, strict=True):
      np.testing.assert_allclose(a[:, image], b, atol=1e-5)
  # What the patches of a tile get of all adds up to what all give.
  np.testing.assert_allclose(both.attention.sum(), 24, rtol=1e-5)
  if vision.window:
    return  # what is turned has other windows
  turned = run(pixels, grid[..., ::-1])  # rows are not columns
  assert np.abs(turned.features - both.features).max() > 1e-2


@pytest.mark.parametrize('vision', [VISION, WINDOWED])
@pytest.mark.parametrize('patches', [True, False])
def test_costs_are_what_is_computed(patches, vision):
  """Of an image that is not larger than a window."""
  plan = images.Plan(3, 4)
  pixels, grid = tiles(plan)
  module = tower.Tower(vision)
  params = jax.jit(module.init)(jax.random.key(0), pixels, grid)
  counted = multiply_adds.macs(
    jax.make_jaxpr(module.apply)(params, pixels, grid)
  )
  made = 48 * 2 * 6 * 6 * 3 * 24
  assert costs.tower(vision, patches, 12) == counted - (not patches) * made
  if vision.window:
    return  # the merger has one norm or another, which costs nothing
  merger = modules.MODULES.connector(SIZE, compute_lib.Compute())
  row = (
    jnp.zeros((1, 12, VISION.features)),
    plan.gather_index[None],
    plan.gather_weight[None],
  )
  params = jax.jit(merger.init)(jax.random.key(0), *row)
  counted = multiply_adds.macs(jax.make_jaxpr(merger.apply)(params, *row))
  assert 12 * costs.merger(SIZE) == counted


def test_a_patch_is_scored_with_those_of_its_window_or_of_its_image():
  """So in most layers the cost of a page is that of its size, not of its
  square."""
  assert WINDOWED.pairs(100) == 400**2
  assert WINDOWED.pairs(100, window=4) == 400 * 64
  assert WINDOWED.pairs(9, window=4) == 36**2

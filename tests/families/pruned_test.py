"""Tiles that a neighbour foretells are dropped, and all else stays."""

import dataclasses

import numpy as np
import PIL.Image
import pytest

from visor_jax.data.processing import packing
from visor_jax.data.processing import processed
from visor_jax.families import pruned
from visor_jax.families.llava_onevision import processor as llava_onevision
from visor_jax.families.llava_onevision import recipe as llava_recipe
from visor_jax.families.qwen2_vl import processor as qwen2_vl
from visor_jax.families.qwen2_vl import recipe as recipe_lib
from visor_jax.models import positions

RECIPE = recipe_lib.Recipe(tile=12, least=144, most=144 * 400)


def published(grid):
  """The rule of the paper's code, tile by tile."""
  rows, columns = len(grid), len(grid[0])
  gone = np.zeros((rows, columns), bool)
  for r in range(rows):
    for c in range(columns):
      if r and c:
        left, above, corner = grid[r][c - 1], grid[r - 1][c], grid[r - 1][c - 1]
        foretold = above if corner == left and corner != above else left
      elif r or c:
        foretold = grid[r][c - 1] if c else grid[r - 1][c]
      else:
        continue
      gone[r, c] = grid[r][c] == foretold
  return gone


def test_what_is_foretold_is_what_the_papers_code_says():
  for seed in range(50):
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(1, 6, 2)
    grid = rng.integers(0, 2, (rows, columns))
    pixels = np.repeat(grid[..., None], 3, axis=2).astype(np.uint8)
    np.testing.assert_array_equal(pruned.foretold(pixels), published(grid))


def page(seed=0):
  """White, with a few marks: 6 x 9 tiles."""
  pixels = np.full((72, 108, 3), 255, np.uint8)
  rng = np.random.default_rng(seed)
  for row, column in ((0, 3), (2, 2), (2, 3), (4, 8)):
    at = slice(12 * row, 12 * row + 12), slice(12 * column, 12 * column + 12)
    pixels[at] = rng.integers(0, 256, (12, 12, 3))
  return PIL.Image.fromarray(pixels)


@pytest.mark.parametrize('window', [0, 4])
def test_what_is_left_stands_where_it_stood(window):
  """Tiles, their places in the image, their order, and the text behind it."""
  recipe = dataclasses.replace(RECIPE, window=window)
  full = qwen2_vl.Processor(None, recipe)
  image, size = page(), [(72, 108)]
  ((tiles, plan),) = full.cut([image], size)
  ((fewer, left),) = full.pruned().cut([image], size)
  grid = np.asarray(image).reshape(6, 12, 9, 12, 3).swapaxes(1, 2)
  stays = ~pruned.foretold(grid.reshape(6, 9, -1))
  stays[-1, -1] = True
  assert left.tokens == len(fewer) == stays.sum() < 20
  np.testing.assert_array_equal(fewer[left.gather_index[:, 0]], grid[stays])
  np.testing.assert_array_equal(
    left.tile_grid[left.gather_index[:, 0]], np.argwhere(stays)
  )
  # The tower gets them in the order in which it gets all.
  of_all = [*map(tuple, plan.tile_grid)]
  at = [of_all.index(tuple(place)) for place in left.tile_grid]
  assert at == sorted(at)

  def layout(tiles, plan):
    words = np.arange(5, dtype=np.int32)
    talk = processed.Conversation(words, words > 3, (1,), words[3:4])
    segment = packing.segment_of_images(talk, [tiles], [plan], 1)
    shape = full.row_shape(text=8, visual=64, tiles=64)
    batch = packing.stack([packing.row([segment], shape)])
    return positions.token_layout(batch, axes=3)

  before, after = layout(tiles, plan), layout(fewer, left)
  np.testing.assert_array_equal(
    after.text_position[0, :5], before.text_position[0, :5]
  )
  np.testing.assert_array_equal(
    after.visual_position[0, : left.tokens],
    np.asarray(before.visual_position[0, :54])[stays.ravel()],
  )


def test_an_image_without_repeats_stays_as_it_is():
  rng = np.random.default_rng(1)
  image = PIL.Image.fromarray(rng.integers(0, 256, (24, 36, 3), np.uint8))
  full = qwen2_vl.Processor(None, RECIPE)
  ((tiles, plan),) = full.cut([image], [(24, 36)])
  ((fewer, left),) = full.pruned().cut([image], [(24, 36)])
  np.testing.assert_array_equal(fewer, tiles)
  np.testing.assert_array_equal(left.gather_index, plan.gather_index)


def test_tiles_of_many_patches_are_taken_together():
  with pytest.raises(
    ValueError, match='pixelprune: .* 729 patches.*are visual tokens'
  ):
    llava_onevision.Processor(None, llava_recipe.PUBLISHED).pruned()

"""Sizes to tokens, against transformers' own code.

The oracle: its processor for counts, its model's `pack_image_features` for what
a token is made of.
"""

import types

import numpy as np
import pytest
import torch
from transformers.models.llava_onevision import modeling_llava_onevision
from transformers.models.llava_onevision import processing_llava_onevision

from tests.families.llava_onevision import cases
from visor_jax import config
from visor_jax.families.llava_onevision import images


def count(name, height, width):
  """Visual tokens, says the processor; no constructor without torchvision."""
  tile, patch = cases.TILES[name]
  oracle = object.__new__(processing_llava_onevision.LlavaOnevisionProcessor)
  oracle.image_processor = types.SimpleNamespace(
    image_grid_pinpoints=cases.CANVASES[name]
  )
  oracle.num_image_tokens = (tile // patch) ** 2
  oracle.vision_aspect_ratio = 'anyres_max_9'
  return oracle._get_number_of_features(height, width, tile, tile)


def pack(name, most, features, newline, size):
  """Features [tiles, P, D] to visual tokens, says the model."""
  tile, patch = cases.TILES[name]
  model = types.SimpleNamespace(
    config=types.SimpleNamespace(
      vision_config=types.SimpleNamespace(image_size=tile, patch_size=patch),
      image_grid_pinpoints=cases.CANVASES[name],
    )
  )
  (packed,), _ = (
    modeling_llava_onevision.LlavaOnevisionModel.pack_image_features(
      model,
      [torch.from_numpy(features)],
      [size],
      torch.from_numpy(newline),
      f'anyres_max_{most}',
    )
  )
  return packed.numpy()


def gather(plan, features, newline):
  """What models.connector does with a plan."""
  x = np.concatenate([features.reshape(-1, features.shape[-1]), newline[None]])
  return np.einsum('VKD,VK->VD', x[plan.gather_index], plan.gather_weight)


def check_tokens(name, size, most=9, alone=True):
  plan = images.plan(cases.recipe(name, most), *size, alone)
  if most == 9 and alone:
    assert plan.tokens == count(name, *size), size
  rng = np.random.default_rng(0)
  features = rng.normal(size=(plan.tiles, plan.recipe.patches, 3))
  features, newline = features.astype(np.float32), np.float32([7, 8, 9])
  np.testing.assert_allclose(
    gather(plan, features, newline),
    pack(name, most, features, newline, size),
    atol=1e-5,
    rtol=1e-5,
  )
  assert (
    plan.gather_index.dtype == np.int32
    and plan.gather_weight.dtype == np.float32
  )
  assert plan.gather_index.shape == plan.gather_weight.shape == (plan.tokens, 4)


@pytest.mark.parametrize(
  'size,tokens',
  [
    ((384, 384), 1485),
    ((480, 640), 2929),
    ((640, 480), 2943),
    ((600, 800), 4725),
    ((899, 1024), 6551),
    ((1080, 1920), 7269),
    ((2200, 1700), 7353),
    ((1310, 1072), 8765),
  ],
)
def test_published_counts(size, tokens):
  """Of the llava-onevision-qwen2 checkpoints, whatever transformers says."""
  assert images.plan(cases.recipe('real'), *size).tokens == tokens


def test_any_image_alone_fits_the_slots_of_a_question():
  """As the config has them where it is not told otherwise."""
  slots, draw = config.default().data.prompt, np.random.default_rng(0)
  assert (slots.text + slots.visual) % 1024 == 0
  most = 0
  for aspect in np.exp(draw.uniform(-3, 3, 1000)):
    height = int(draw.uniform(20, 4000))
    plan = images.plan(
      cases.recipe('real'), height, max(1, int(height * aspect))
    )
    assert plan.tokens <= slots.visual and plan.tiles <= slots.tiles
    most = max(most, plan.tokens)
  assert most > 8000


def test_a_plan_by_hand():
  """1080 x 1920: 3 x 5 tiles, 81 x 135 patches, of which 76 rows show it."""
  plan = images.plan(cases.recipe('real'), 1080, 1920)
  assert plan.canvas == (1152, 1920) and plan.grid == (3, 5)
  assert plan.tiles == 16
  # 135 * 1080 / 1920 is 75.9: int cuts it to 75, and 6 // 2 = 3 rows go on
  # either side, which leaves 75. sqrt(75 * 135 / 6561) = 1.242: resampled.
  assert plan.rows == (3, 78) and plan.columns == (0, 135)
  assert plan.resampled and plan.token_grid == (60, 108)
  assert plan.tokens == 729 + 60 * 109
  newline = plan.gather_index[729:].reshape(60, 109, 4)[:, -1, 0]
  assert (newline == 16 * 729).all()
  assert not images.plan(cases.recipe('real'), 384, 384).resampled


def test_a_token_that_is_not_resampled_is_one_patch():
  """The base view first; then the canvas row by row, across its tiles."""
  plan = images.plan(cases.recipe('even'), 32, 64)
  assert plan.grid == (1, 2) and not plan.resampled
  nearest = plan.gather_index[
    np.arange(plan.tokens), plan.gather_weight.argmax(1)
  ]
  assert set(plan.gather_weight.ravel()) == {0, 1}
  assert nearest[:16].tolist() == list(range(16))
  assert nearest[16:25].tolist() == [16, 17, 18, 19, 32, 33, 34, 35, 48]
  assert nearest[25:30].tolist() == [20, 21, 22, 23, 36]


@pytest.mark.parametrize('name', cases.TILES)
@pytest.mark.parametrize('size', cases.SIZES)
def test_tokens_are_those_of_transformers(name, size):
  check_tokens(name, size)


@pytest.mark.parametrize('most', [1, 2, 4])
def test_most_comes_from_the_checkpoint(most):
  for size in ((100, 150), (150, 60)):
    check_tokens('rest', size, most)


@pytest.mark.parametrize('name', ['rest', 'even'])
def test_several_images_are_not_cut(name):
  """The base view, and one newline after its patches."""
  for size in cases.SEVERAL:
    check_tokens(name, size, alone=False)
  assert images.plan(cases.recipe('real'), 480, 640, False).tokens == 730


@pytest.mark.drill
@pytest.mark.parametrize('name', cases.TILES)
def test_many_sizes(name):
  for size in cases.draw(1, 200):
    check_tokens(name, size)


def test_a_plan_is_made_once_and_cannot_be_written():
  """Samples share it: one that writes would spoil the others."""
  plan = images.plan(cases.recipe('rest'), 50, 60)
  assert images.plan(cases.recipe('rest'), 50, 60) is plan
  for array in (plan.gather_index, plan.gather_weight):
    with pytest.raises(ValueError, match='read-only'):
      array[0] = 0

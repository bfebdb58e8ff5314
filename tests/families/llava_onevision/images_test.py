"""Images to tiles and tokens, against transformers' own code.

The oracle: its image processor for pixels, its processor for counts, its
model's `pack_image_features` for what a token is made of.
"""

import time
import types

import numpy as np
import PIL.Image
import pytest
import torch
from transformers.models.llava_onevision import (
  image_processing_pil_llava_onevision as image_processing,
)
from transformers.models.llava_onevision import modeling_llava_onevision
from transformers.models.llava_onevision import processing_llava_onevision

from tests import llava_files
from visor_jax import config
from visor_jax.families.llava_onevision import images
from visor_jax.families.llava_onevision import recipe as recipe_lib
from visor_jax.families.llava_onevision import tiles as tiles_lib

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


def recipe(name, most=9):
  tile, patch = TILES[name]
  config = llava_files.config(tile, patch, CANVASES[name])
  config['vision_aspect_ratio'] = f'anyres_max_{most}'
  return recipe_lib.parse(
    llava_files.preprocessor(tile, CANVASES[name]), config
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


def count(name, height, width):
  """Visual tokens, says the processor; no constructor without torchvision."""
  tile, patch = TILES[name]
  oracle = object.__new__(processing_llava_onevision.LlavaOnevisionProcessor)
  oracle.image_processor = types.SimpleNamespace(
    image_grid_pinpoints=CANVASES[name]
  )
  oracle.num_image_tokens = (tile // patch) ** 2
  oracle.vision_aspect_ratio = 'anyres_max_9'
  return oracle._get_number_of_features(height, width, tile, tile)


def pack(name, most, features, newline, size):
  """Features [tiles, P, D] to visual tokens, says the model."""
  tile, patch = TILES[name]
  model = types.SimpleNamespace(
    config=types.SimpleNamespace(
      vision_config=types.SimpleNamespace(image_size=tile, patch_size=patch),
      image_grid_pinpoints=CANVASES[name],
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


def cut(name, sample):
  """Tiles of a sample's images in 0..255, says the image processor."""
  processor = image_processing.LlavaOnevisionImageProcessorPil(
    **llava_files.preprocessor(TILES[name][0], CANVASES[name])
  )
  tiles = processor([sample])['pixel_values']
  return [np.moveaxis(t * 0.5 + 0.5, 1, -1) * 255 for t in tiles]


def check_tokens(name, size, most=9, alone=True):
  plan = images.plan(recipe(name, most), *size, alone)
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


def check_pixels(name, sample):
  """Identical: the float is the oracle's normalisation and back."""
  alone = len(sample) == 1
  for image, want in zip(sample, cut(name, sample)):
    plan = images.plan(recipe(name), image.height, image.width, alone)
    got = tiles_lib.cut(image, plan)
    assert got.dtype == np.uint8 and got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=1e-3)


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
  assert images.plan(recipe('real'), *size).tokens == tokens


def test_any_image_alone_fits_the_slots_of_a_question():
  """As the config has them where it is not told otherwise."""
  slots, draw = config.default().data.prompt, np.random.default_rng(0)
  assert (slots.text + slots.visual) % 1024 == 0
  most = 0
  for aspect in np.exp(draw.uniform(-3, 3, 4000)):
    height = int(draw.uniform(20, 4000))
    plan = images.plan(recipe('real'), height, max(1, int(height * aspect)))
    assert plan.tokens <= slots.visual and plan.tiles <= slots.tiles
    most = max(most, plan.tokens)
  assert most > 8000


def test_a_plan_by_hand():
  """1080 x 1920: 3 x 5 tiles, 81 x 135 patches, of which 76 rows show it."""
  plan = images.plan(recipe('real'), 1080, 1920)
  assert plan.canvas == (1152, 1920) and plan.grid == (3, 5)
  assert plan.tiles == 16
  # 135 * 1080 / 1920 is 75.9: int cuts it to 75, and 6 // 2 = 3 rows go on
  # either side, which leaves 75. sqrt(75 * 135 / 6561) = 1.242: resampled.
  assert plan.rows == (3, 78) and plan.columns == (0, 135)
  assert plan.resampled and plan.token_grid == (60, 108)
  assert plan.tokens == 729 + 60 * 109
  newline = plan.gather_index[729:].reshape(60, 109, 4)[:, -1, 0]
  assert (newline == 16 * 729).all()
  assert not images.plan(recipe('real'), 384, 384).resampled


def test_a_token_that_is_not_resampled_is_one_patch():
  """The base view first; then the canvas row by row, across its tiles."""
  plan = images.plan(recipe('even'), 32, 64)
  assert plan.grid == (1, 2) and not plan.resampled
  nearest = plan.gather_index[
    np.arange(plan.tokens), plan.gather_weight.argmax(1)
  ]
  assert set(plan.gather_weight.ravel()) == {0, 1}
  assert nearest[:16].tolist() == list(range(16))
  assert nearest[16:25].tolist() == [16, 17, 18, 19, 32, 33, 34, 35, 48]
  assert nearest[25:30].tolist() == [20, 21, 22, 23, 36]


@pytest.mark.parametrize('name', TILES)
@pytest.mark.parametrize('size', SIZES)
def test_tokens_are_those_of_transformers(name, size):
  check_tokens(name, size)


@pytest.mark.parametrize('most', [1, 2, 4])
def test_most_comes_from_the_checkpoint(most):
  for size in ((100, 150), (150, 60)):
    check_tokens('rest', size, most)


@pytest.mark.parametrize(
  'name,sizes',
  [
    ('real', [(480, 640), (1080, 1920), (700, 28)]),
    # 25 * (28 / 25) is more than 28.
    ('rest', [(1, 1), (25, 25), (41, 97), (97, 41), (1, 300), (300, 2)]),
    ('even', [(200, 230), (33, 31), (3000, 20)]),
  ],
)
def test_pixels_are_those_of_transformers(name, sizes):
  for i, size in enumerate(sizes):
    check_pixels(name, [picture(*size, seed=i)])


@pytest.mark.parametrize('name', ['rest', 'even'])
def test_several_images_are_not_cut(name):
  """A square amid the mean colour, and one newline after its patches."""
  sizes = (40, 91), (91, 40), (25, 25), (1, 60)
  check_pixels(name, [picture(*size, seed=i) for i, size in enumerate(sizes)])
  for size in sizes:
    check_tokens(name, size, alone=False)
  assert images.plan(recipe('real'), 480, 640, False).tokens == 730


@pytest.mark.drill
@pytest.mark.parametrize('name', TILES)
def test_many_sizes(name):
  for size in draw(1, 200):
    check_tokens(name, size)
  for i, size in enumerate(draw(2, 200, 2500 if name == 'real' else 400)):
    check_pixels(name, [picture(*size, seed=i)])


@pytest.mark.drill
@pytest.mark.parametrize('size', [(480, 640), (1080, 1920), (2200, 1700)])
def test_faster_than_the_image_processor(size):
  """From RGB to tiles, one core each, in turn; its floats are counted in."""
  torch.set_num_threads(1)
  image, spent = picture(*size), {'ours': [], 'theirs': []}
  for _ in range(11):
    for who, f in (
      (
        'ours',
        lambda: tiles_lib.cut(image, images.plan(recipe('real'), *size)),
      ),
      ('theirs', lambda: cut_only(image)),
    ):
      start = time.process_time()
      f()
      spent[who].append(time.process_time() - start)
  ours, theirs = (np.median(t) for t in spent.values())
  print(
    f'{size}: ours {1 / ours:.1f}/s, theirs {1 / theirs:.1f}/s, '
    f'{theirs / ours:.1f} times'
  )
  assert theirs > 1.5 * ours


def cut_only(image):
  return image_processing.LlavaOnevisionImageProcessorPil(
    **llava_files.preprocessor(TILES['real'][0], CANVASES['real'])
  )([[image]])


def test_a_plan_is_made_once_and_cannot_be_written():
  """Samples share it: one that writes would spoil the others."""
  plan = images.plan(recipe('rest'), 50, 60)
  assert images.plan(recipe('rest'), 50, 60) is plan
  for array in (plan.gather_index, plan.gather_weight):
    with pytest.raises(ValueError, match='read-only'):
      array[0] = 0


def test_tiles_of_another_image_are_an_error():
  plan = images.plan(recipe('rest'), 50, 60)
  with pytest.raises(ValueError, match=r'60 x 50 in RGB; .* \(50, 60\)'):
    tiles_lib.cut(picture(60, 50), plan)
  with pytest.raises(ValueError, match='in L; the plan'):
    tiles_lib.cut(picture(50, 60).convert('L'), plan)

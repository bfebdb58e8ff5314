"""Images cut to tiles, against transformers' own image processor."""

import time

import numpy as np
import pytest
import torch
from transformers.models.llava_onevision import (
  image_processing_pil_llava_onevision as image_processing,
)

from tests import llava_files
from tests.families.llava_onevision import cases
from visor_jax.families.llava_onevision import images
from visor_jax.families.llava_onevision import tiles as tiles_lib


def cut(name, sample):
  """Tiles of a sample's images in 0..255, says the image processor."""
  processor = image_processing.LlavaOnevisionImageProcessorPil(
    **llava_files.preprocessor(cases.TILES[name][0], cases.CANVASES[name])
  )
  tiles = processor([sample])['pixel_values']
  return [np.moveaxis(t * 0.5 + 0.5, 1, -1) * 255 for t in tiles]


def check_pixels(name, sample):
  """Identical: the float is the oracle's normalisation and back."""
  alone = len(sample) == 1
  for image, want in zip(sample, cut(name, sample)):
    plan = images.plan(cases.recipe(name), image.height, image.width, alone)
    got = tiles_lib.cut(image, plan)
    assert got.dtype == np.uint8 and got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=1e-3)


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
    check_pixels(name, [cases.picture(*size, seed=i)])


@pytest.mark.drill
@pytest.mark.parametrize('size', [(480, 640), (1080, 1920), (2200, 1700)])
def test_faster_than_the_image_processor(size):
  """From RGB to tiles, one core each, in turn; its floats are counted in."""
  torch.set_num_threads(1)
  image, spent = cases.picture(*size), {'ours': [], 'theirs': []}
  for _ in range(11):
    for who, f in (
      (
        'ours',
        lambda: tiles_lib.cut(image, images.plan(cases.recipe('real'), *size)),
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
    **llava_files.preprocessor(cases.TILES['real'][0], cases.CANVASES['real'])
  )([[image]])


def test_tiles_of_another_image_are_an_error():
  plan = images.plan(cases.recipe('rest'), 50, 60)
  with pytest.raises(ValueError, match=r'60 x 50 in RGB; .* \(50, 60\)'):
    tiles_lib.cut(cases.picture(60, 50), plan)
  with pytest.raises(ValueError, match='in L; the plan'):
    tiles_lib.cut(cases.picture(50, 60).convert('L'), plan)


@pytest.mark.drill
@pytest.mark.parametrize('name', cases.TILES)
def test_pixels_of_many_sizes(name):
  for i, size in enumerate(cases.draw(2, 200, 2500 if name == 'real' else 400)):
    check_pixels(name, [cases.picture(*size, seed=i)])


@pytest.mark.parametrize('name', ['rest', 'even'])
def test_several_images_are_squares_amid_the_mean_colour(name):
  check_pixels(
    name,
    [cases.picture(*size, seed=i) for i, size in enumerate(cases.SEVERAL)],
  )

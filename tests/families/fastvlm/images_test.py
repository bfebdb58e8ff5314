"""One tile of any image, as Apple pads it and as CLIP's processor cuts it."""

import numpy as np
import PIL.Image
import pytest
from transformers.models.clip import image_processing_pil_clip

from tests import agreement
from tests import fastvlm
from tests import llava
from visor_jax.families.fastvlm import images
from visor_jax.families.fastvlm import record

SIDE = 128
SIZES = (
  (1, 1),
  (128, 128),
  (40, 91),
  (301, 40),
  (480, 640),
  (1, 90),
  (333, 334),
)


def processed(image):
  """uint8 [SIDE, SIDE, 3] of the processor of converted checkpoints."""
  processor = image_processing_pil_clip.CLIPImageProcessorPil(
    size=dict(shortest_edge=SIDE),
    crop_size=SIDE,
    image_mean=[0.0] * 3,
    image_std=[1.0] * 3,
  )
  (pixels,) = processor(image, return_tensors='np')['pixel_values']
  return np.rint(pixels.transpose(1, 2, 0) * 255).astype(np.uint8)


def check(size):
  image = llava.picture(*size)
  (tile,) = images.tile(image, SIDE, 'pad')
  np.testing.assert_array_equal(
    tile, processed(fastvlm.expanded(image)), str(size)
  )
  if max(size) <= 100 * min(size):
    (tile,) = images.tile(image, SIDE, 'crop')
    np.testing.assert_array_equal(tile, processed(image), str(size))


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_pixels_are_those_of_both_pipelines(size):
  check(size)


@pytest.mark.drill
def test_pixels_are_those_of_both_pipelines_at_200_sizes():
  for size in agreement.sizes(np.random.default_rng(0), 200):
    check(size)
  print('200 sizes, every pixel the same in both')


def test_padding_shows_what_cropping_cuts_off():
  """A stripe over the left tenth of an image twice as wide as high."""
  pixels = np.zeros((100, 200, 3), np.uint8)
  pixels[:, :20] = 255
  image = PIL.Image.fromarray(pixels)
  assert images.tile(image, 64, 'pad').max() == 255
  assert images.tile(image, 64, 'crop').max() == 0


def test_an_image_too_thin_to_be_cut_is_named():
  with pytest.raises(ValueError, match='1 x 101 is too thin to be cut'):
    images.tile(llava.picture(1, 101), 64, 'crop')


@pytest.mark.parametrize('size', SIZES[:3], ids=str)
def test_every_image_is_256_tokens(size):
  plan = record.FAMILY.plan_image(
    *size, record.FAMILY.sizes['fastvlm-0.5b'].vision
  )
  assert (plan.tokens, plan.tiles) == (256, 1)
  assert plan.gather_index.tolist() == [[k] for k in range(256)]
  assert plan.gather_weight.shape == (256, 1) and plan.gather_weight.min() == 1

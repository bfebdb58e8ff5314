"""Pixels as a checkpoint's own settings have them, against transformers."""

import json
import pathlib

import numpy as np
import pytest
from transformers.models.llava_onevision import (
  image_processing_pil_llava_onevision as image_processing,
)

from tests import llava_files
from tests.families.llava_onevision import cases
from visor_jax.families.llava_onevision import config as config_lib
from visor_jax.families.llava_onevision import images
from visor_jax.families.llava_onevision import recipe as recipe_lib
from visor_jax.families.llava_onevision import tiles

CLIP = dict(
  image_mean=[0.48145466, 0.4578275, 0.40821073],
  image_std=[0.26862954, 0.26130258, 0.27577711],
)


@pytest.mark.parametrize(
  'change',
  [
    CLIP,
    dict(do_normalize=False),
    dict(do_rescale=False),
    dict(do_rescale=False, do_normalize=False),
    CLIP | dict(do_rescale=False),
    dict(rescale_factor=1 / 127.5),
  ],
  ids=lambda change: '+'.join(change),
)
def test_pixels_are_those_of_transformers(change, tmp_path: pathlib.Path):
  """Colour by colour, alone and amid the mean colour as one of several."""
  settings = llava_files.preprocessor() | change
  for name, fields in (
    ('config', llava_files.config()),
    ('preprocessor_config', settings),
  ):
    (tmp_path / f'{name}.json').write_text(json.dumps(fields))
  vision = config_lib.read(tmp_path).size.vision
  recipe = recipe_lib.read(tmp_path)
  del settings['image_processor_type'], settings['processor_class']
  processor = image_processing.LlavaOnevisionImageProcessorPil(**settings)
  pictures = [cases.picture(40, 91), cases.picture(30, 30)]
  for asked in (pictures[:1], pictures):
    expected = processor([asked], return_tensors='np')['pixel_values']
    sizes = [(picture.height, picture.width) for picture in asked]
    for picture, plan, theirs in zip(
      asked, images.plans(recipe, sizes), np.asarray(expected)
    ):
      ours = tiles.cut(picture, plan) / np.float32(255)
      ours = (ours - np.array(vision.mean)) / np.array(vision.std)
      theirs = theirs.transpose(0, 2, 3, 1)[: len(ours)]
      np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)

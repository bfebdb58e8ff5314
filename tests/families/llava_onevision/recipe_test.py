"""What a checkpoint says of images, as old or new transformers write it."""

import json

import pytest
from transformers.models.llava_onevision import (
  image_processing_pil_llava_onevision as image_processing,
)

from tests import llava_files
from visor_jax.families.llava_onevision import recipe


def write(folder, name, fields):
  (folder / name).write_text(json.dumps(fields))


def test_a_folder_is_read_as_old_or_new_transformers_write_it(tmp_path):
  llava_files.write_processor(tmp_path, 28, 8)
  write(tmp_path, 'config.json', llava_files.config(28, 8))
  got = recipe.read(tmp_path)
  assert got.tile == 28 and got.side == 3 and got.patches == 9
  assert got.mean == (0.5, 0.5, 0.5) and len(got.canvases) == 36
  (tmp_path / 'preprocessor_config.json').unlink()
  with pytest.raises(FileNotFoundError, match='preprocessor_config.json'):
    recipe.read(tmp_path)
  processor = image_processing.LlavaOnevisionImageProcessorPil(
    **llava_files.preprocessor(28)
  )
  write(
    tmp_path,
    'processor_config.json',
    {'image_processor': json.loads(processor.to_json_string())},
  )
  assert recipe.read(tmp_path) == got


@pytest.mark.parametrize(
  'where,change,message',
  [
    ('preprocessor', dict(image_mean=None), 'image_mean is missing'),
    ('preprocessor', dict(size=dict(height=28, width=56)), 'size is .*56'),
    ('preprocessor', dict(size=dict(height=56, width=56)), 'which is 28'),
    ('preprocessor', dict(resample=2), 'resample is 2; expected 3'),
    ('preprocessor', dict(do_resize=False), 'do_resize is False'),
    ('preprocessor', dict(do_center_crop=True), 'do_center_crop is True'),
    ('preprocessor', dict(image_std=[0.5, 0, 0.5]), 'image_std is'),
    ('preprocessor', dict(image_mean=[0.5]), 'three numbers'),
    (
      'preprocessor',
      dict(image_grid_pinpoints=[[28, 28]]),
      'same as in config',
    ),
    ('both', dict(image_grid_pinpoints=[[28, 30]]), 'multiples of 28'),
    ('both', dict(image_grid_pinpoints=[[28 * 13, 28]]), 'up to 336'),
    ('both', dict(image_grid_pinpoints=[[28, 28]] * 999), 'at most 144'),
    ('both', dict(image_grid_pinpoints='(1x1)'), 'pairs of height and width'),
    ('config', dict(vision_aspect_ratio='anyres'), "is 'anyres'; expected"),
    ('config', dict(vision_aspect_ratio='pad'), "is 'pad'; expected"),
    ('config', dict(vision_aspect_ratio='anyres_max_\u00b2'), 'and a number'),
  ],
)
def test_a_checkpoint_of_another_kind_is_an_error(
  where, change, message, tmp_path
):
  for name, fields in (
    ('preprocessor', llava_files.preprocessor(28)),
    ('config', llava_files.config(28)),
  ):
    fields |= change if where in (name, 'both') else {}
    file = dict(preprocessor='preprocessor_config').get(name, name)
    write(tmp_path, f'{file}.json', fields)
  with pytest.raises(ValueError, match=message):
    recipe.read(tmp_path)

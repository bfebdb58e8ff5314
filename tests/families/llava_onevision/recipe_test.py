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
  assert got == recipe.parse(
    llava_files.preprocessor(28), llava_files.config(28, 8)
  )
  assert got.tile == 28 and got.side == 3 and got.patches == 9
  assert got.mean == got.std == (0.5, 0.5, 0.5) and len(got.canvases) == 36
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
    ('preprocessor', dict(image_mean=None), 'has no image_mean'),
    ('preprocessor', dict(size=dict(height=28, width=56)), 'size is .*56'),
    ('preprocessor', dict(size=dict(height=56, width=56)), 'image_size 28'),
    ('preprocessor', dict(resample=2), 'resample is 2; expected 3'),
    ('preprocessor', dict(image_grid_pinpoints=[[28, 28]]), 'differ between'),
    ('both', dict(image_grid_pinpoints=[[28, 30]]), 'multiples of 28'),
    ('config', dict(vision_aspect_ratio='anyres'), 'is anyres; expected'),
    ('config', dict(vision_aspect_ratio='pad'), 'is pad; expected'),
    ('config', dict(vision_config=dict(image_size=28)), 'no patch_size'),
  ],
)
def test_a_checkpoint_of_another_kind_is_an_error(where, change, message):
  preprocessor, config = llava_files.preprocessor(28), llava_files.config(28)
  for name, fields in (('preprocessor', preprocessor), ('config', config)):
    if where in (name, 'both'):
      fields.update(change)
  with pytest.raises(ValueError, match=message):
    recipe.parse(preprocessor, config)

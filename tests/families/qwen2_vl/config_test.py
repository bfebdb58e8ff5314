"""Sizes and recipes from configs, and what is refused of them."""

import dataclasses
import json

import pytest
import transformers

from tests import qwen2_vl
from visor_jax.families.qwen2_vl import config
from visor_jax.families.qwen2_vl import recipe
from visor_jax.families.qwen2_vl import sizes

# As on the hub.
FLAT = dict(
  architectures=['Qwen2VLForConditionalGeneration'],
  model_type='qwen2_vl',
  hidden_size=1536,
  intermediate_size=8960,
  num_hidden_layers=28,
  num_attention_heads=12,
  num_key_value_heads=2,
  max_position_embeddings=32768,
  max_window_layers=28,
  rms_norm_eps=1e-6,
  rope_theta=1000000.0,
  rope_scaling=dict(type='mrope', mrope_section=[16, 24, 24]),
  sliding_window=32768,
  use_sliding_window=False,
  tie_word_embeddings=True,
  vocab_size=151936,
  vision_config=dict(
    depth=32,
    embed_dim=1280,
    mlp_ratio=4,
    num_heads=16,
    in_chans=3,
    hidden_size=1536,
    patch_size=14,
    spatial_merge_size=2,
    spatial_patch_size=14,
    temporal_patch_size=2,
  ),
)
WINDOWED = FLAT | dict(
  architectures=['Qwen2_5_VLForConditionalGeneration'],
  model_type='qwen2_5_vl',
  hidden_size=2048,
  intermediate_size=11008,
  max_position_embeddings=128000,
  num_attention_heads=16,
  num_hidden_layers=36,
  vision_config=dict(
    depth=32,
    hidden_act='silu',
    hidden_size=1280,
    intermediate_size=3420,
    num_heads=16,
    in_chans=3,
    out_hidden_size=2048,
    patch_size=14,
    spatial_merge_size=2,
    spatial_patch_size=14,
    window_size=112,
    fullatt_block_indexes=[7, 15, 23, 31],
    tokens_per_second=2,
    temporal_patch_size=2,
  ),
)
PREPROCESSOR = dict(min_pixels=3136, max_pixels=12845056, patch_size=14)


def write(folder, fields, **preprocessor):
  (folder / 'config.json').write_text(json.dumps(fields))
  qwen2_vl.write_preprocessor(folder, **PREPROCESSOR | preprocessor)
  return folder


def nested(fields, tmp_path):
  """The same as transformers writes it."""
  config_class = {
    'qwen2_vl': transformers.Qwen2VLConfig,
    'qwen2_5_vl': transformers.Qwen2_5_VLConfig,
  }[fields['model_type']]
  config_class(**fields).save_pretrained(tmp_path)
  return json.loads((tmp_path / 'config.json').read_text())


@pytest.mark.parametrize(
  'fields,size,context',
  [
    (FLAT, 'qwen2-vl-2b', 32768),
    (WINDOWED, 'qwen2.5-vl-3b', 128000),
  ],
)
@pytest.mark.parametrize('layout', ['flat', 'nested'])
def test_the_published_config_is_the_named_size(
  layout, fields, size, context, tmp_path
):
  if layout == 'nested':
    fields = nested(fields, tmp_path)
  assert ('text_config' in fields) == (layout == 'nested')
  folder = write(tmp_path, fields)
  known = config.read(folder)
  assert known.size == sizes.SIZES[size]
  assert known.context == context and known.tower_layers == 32
  assert recipe.read(folder) == dataclasses.replace(
    recipe.PUBLISHED, window=known.size.vision.window
  )


@pytest.mark.parametrize('layout', ['flat', 'nested'])
def test_words_are_changed_where_they_are_said(layout, tmp_path):
  fields = FLAT if layout == 'flat' else nested(FLAT, tmp_path)
  assert config.with_vocabulary(fields, 151936) == fields
  changed = transformers.Qwen2VLConfig(**config.with_vocabulary(fields, 152000))
  assert changed.text_config.vocab_size == 152000
  assert changed.text_config.hidden_size == 1536
  assert changed.text_config.rms_norm_eps == 1e-6


def test_defaults_are_those_of_transformers(tmp_path):
  """Whose width of text is not that of their tower."""
  fields = dict(model_type='qwen2_vl')
  default = transformers.Qwen2VLConfig()
  with pytest.raises(ValueError, match='3584; expected the width .* 8192'):
    config.read(write(tmp_path, fields))
  known = config.read(
    write(tmp_path, fields | dict(vision_config=dict(hidden_size=8192)))
  )
  language, text = known.size.language, default.text_config
  assert (language.width, language.depth, language.heads) == (
    text.hidden_size,
    text.num_hidden_layers,
    text.num_attention_heads,
  )
  assert language.norm_eps == text.rms_norm_eps == 1e-5
  assert language.rope_theta == text.rope_parameters['rope_theta']
  assert known.size.vision == sizes.SIZES['qwen2-vl-7b'].vision


def part(of=FLAT, **fields):
  return of | dict(vision_config=of['vision_config'] | fields)


@pytest.mark.parametrize(
  'fields,message',
  [
    (FLAT | dict(rope_scaling=dict(type='yarn')), "type is 'yarn'"),
    (
      FLAT | dict(rope_scaling=dict(type='mrope', mrope_section=[16, 24])),
      r'mrope_section is \[16, 24\]; expected three .* 128 / 2',
    ),
    (FLAT | dict(use_sliding_window=True), 'use_sliding_window is True'),
    (part(hidden_act='gelu'), "hidden_act is 'gelu'; expected 'quick_gelu'"),
    (part(WINDOWED, hidden_act='gelu'), "'gelu'; expected 'silu'"),
    (part(WINDOWED, out_hidden_size=8), 'the width of text, 2048'),
    (part(WINDOWED, window_size=20), 'window_size is 20; expected 28 pixels'),
    (part(WINDOWED, fullatt_block_indexes=[32]), 'integers from 0 to 31'),
    (part(spatial_merge_size=3), 'spatial_merge_size is 3'),
    (
      part(embed_dim=1288),
      r'embed_dim is 1288; expected a multiple of 4 \* 16',
    ),
    (part(patch_size=16), 'patch_size is 16; expected that of the processor'),
    (part(hidden_size=3584), 'the width of text, 1536'),
    (
      part(rope_parameters=dict(rope_theta=5e3)),
      'rope_theta is 5000.0; expected 10000.0',
    ),
  ],
)
def test_a_config_of_another_model_is_refused(fields, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    config.read(write(tmp_path, fields))


@pytest.mark.parametrize(
  'fields,message',
  [
    (dict(merge_size=4), 'merge_size is 4; expected 2'),
    (dict(resample=2), 'resample is 2; expected 3'),
    (
      dict(image_std=[0.2, 0.0, 0.2]),
      'image_std is .*; expected three numbers',
    ),
    (dict(image_mean=[0.5]), 'image_mean is'),
    (dict(max_pixels=100), 'images have 3136 to 100 pixels'),
    (
      dict(size=dict(shortest_edge=3136)),
      'size.longest_edge is missing; expected a number of pixels',
    ),
  ],
)
def test_a_processor_of_another_model_is_refused(fields, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    recipe.read(write(tmp_path, FLAT, **fields))


def test_limits_are_read_as_old_or_new_transformers_write_them(tmp_path):
  """New ones keep them in `size`, in the file of the processor."""
  write(tmp_path, FLAT)
  new = dict(
    patch_size=14, size=dict(shortest_edge=3136, longest_edge=12845056)
  )
  path = tmp_path / 'processor_config.json'
  path.write_text(json.dumps(dict(image_processor=new)))
  (tmp_path / 'preprocessor_config.json').unlink()
  assert recipe.read(tmp_path) == recipe.PUBLISHED
  path.write_text(json.dumps(dict(image_processor=dict(patch_size=14))))
  assert recipe.read(tmp_path).most == 1280 * 28**2
  path.unlink()
  with pytest.raises(FileNotFoundError, match='preprocessor_config.json'):
    recipe.read(tmp_path)

"""Sizes and recipes from configs, and what is refused of them."""

import json

import pytest
import transformers

from tests import fastvlm
from visor_jax.families.fastvlm import config
from visor_jax.families.fastvlm import recipe
from visor_jax.families.fastvlm import sizes

# As converted checkpoints have it: keys that have their defaults are left out.
CONVERTED = dict(
  model_type='fast_vlm',
  architectures=['FastVlmForConditionalGeneration'],
  image_seq_length=256,
  text_config=dict(
    model_type='qwen2',
    hidden_size=896,
    intermediate_size=4864,
    num_hidden_layers=24,
    num_attention_heads=14,
    num_key_value_heads=2,
    rope_parameters=dict(rope_theta=1000000.0, rope_type='default'),
    tie_word_embeddings=True,
    vocab_size=152000,
  ),
  vision_config=dict(
    model_type='timm_wrapper',
    architecture='fastvit_mci3',
    hidden_size=3072,
    model_args=dict(inference_mode=True),
  ),
)
APPLE = dict(
  architectures=['LlavaQwen2ForCausalLM'],
  model_type='llava_qwen2',
  hidden_size=896,
  intermediate_size=4864,
  num_hidden_layers=24,
  num_attention_heads=14,
  num_key_value_heads=2,
  max_position_embeddings=32768,
  rope_theta=1000000.0,
  rms_norm_eps=1e-6,
  tie_word_embeddings=True,
  vocab_size=152000,
  image_aspect_ratio='pad',
  mm_hidden_size=3072,
  mm_patch_merge_type='flat',
  mm_projector_type='mlp2x_gelu',
  mm_vision_tower='mobileclip_l_1024',
  tokenizer_model_max_length=8192,
)
PREPROCESSOR = dict(
  crop_size=dict(height=1024, width=1024),
  image_mean=[0.0] * 3,
  image_std=[1.0] * 3,
  resample=3,
  size=dict(shortest_edge=1024),
)


def write(folder, fields, preprocessor=None):
  (folder / 'config.json').write_text(json.dumps(fields))
  if preprocessor:
    path = folder / 'preprocessor_config.json'
    path.write_text(json.dumps(preprocessor))
  return folder


@pytest.mark.parametrize('fields', [CONVERTED, APPLE])
@pytest.mark.parametrize('preprocessor', [None, PREPROCESSOR])
def test_the_published_config_is_the_named_size(fields, preprocessor, tmp_path):
  folder = write(tmp_path, fields, preprocessor)
  known = config.read(folder)
  assert known.size == sizes.SIZES['fastvlm-0.5b']
  assert known.context == 32768 and known.tower_layers == 44
  assert recipe.read(folder) == recipe.Recipe(1024, 'pad')


def test_the_config_of_an_original_is_one_of_transformers(tmp_path):
  """Every size that it says is that of the converted one."""
  apples = config.read(write(tmp_path, APPLE)).config
  ours, theirs = (
    transformers.FastVlmConfig(**fields) for fields in (apples, CONVERTED)
  )
  assert ours.text_config.to_dict() == theirs.text_config.to_dict()
  assert ours.vision_config.to_dict() == theirs.vision_config.to_dict()
  assert ours.image_seq_length == theirs.image_seq_length == 256
  assert config.read(write(tmp_path, apples)).config == apples


def test_an_empty_config_is_the_default_of_transformers(tmp_path):
  """7B, but for the base of its rotary positions, which it leaves at 10000."""
  known = config.read(write(tmp_path, dict(model_type='fast_vlm')))
  published = sizes.SIZES['fastvlm-7b']
  assert known.size.vision == published.vision
  language = known.size.language
  assert (language.width, language.vocabulary) == (3584, 152_128)
  default = transformers.FastVlmConfig().text_config
  assert language.rope_theta == default.rope_parameters['rope_theta'] == 1e4


def test_another_side_is_read_off_the_processor_or_apples_tower(tmp_path):
  small = PREPROCESSOR | dict(
    crop_size=dict(height=512, width=512), size=dict(shortest_edge=512)
  )
  assert config.read(write(tmp_path, CONVERTED, small)).size.vision.grid == (
    8,
    8,
  )
  (tmp_path / 'preprocessor_config.json').unlink()
  apples = APPLE | dict(mm_vision_tower='mobileclip_l_512')
  assert recipe.read(write(tmp_path, apples)).patches == 64


def part(name, **fields):
  return CONVERTED | {name: CONVERTED[name] | fields}


@pytest.mark.parametrize(
  'fields,message',
  [
    (part('text_config', model_type='mistral'), 'text_config.model_type is'),
    (
      part('text_config', rope_parameters=dict(rope_type='yarn')),
      "type is 'yarn'; expected 'default'",
    ),
    (part('vision_config', architecture='fastvit_mci4'), 'fastvit_mci3'),
    (
      part('vision_config', model_args={}),
      'inference_mode is missing; expected true',
    ),
    (part('vision_config', hidden_size=1024), 'hidden_size is 1024'),
    (
      part(
        'vision_config',
        model_args=dict(
          inference_mode=True, embed_dims=[96, 192, 384, 768, 1000]
        ),
      ),
      'twice as many from stage to stage',
    ),
    (CONVERTED | dict(vision_feature_layer=-2), 'vision_feature_layer is -2'),
    (
      CONVERTED | dict(image_aspect_ratio='anyres'),
      "'anyres'; expected one of",
    ),
    (
      APPLE | dict(mm_vision_tower='clip'),
      "'clip'; expected mobileclip_l_1024",
    ),
    (
      APPLE | dict(mm_projector_type='linear'),
      "is 'linear'; expected 'mlp2x_gelu'",
    ),
  ],
)
def test_a_config_of_another_model_is_refused(fields, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    config.read(write(tmp_path, fields))


@pytest.mark.parametrize(
  'change,message',
  [
    (dict(image_mean=[0.5] * 3), 'image_mean is .*; expected .0, 0, 0.'),
    (dict(image_std=[0.5] * 3), 'image_std is'),
    (dict(resample=2), 'resample is 2; expected 3'),
    (dict(size=dict(shortest_edge=512)), r'\[512, 1024\] pixels to a side'),
    (
      dict(
        size=dict(shortest_edge=1000), crop_size=dict(height=1000, width=1000)
      ),
      'multiple of 64',
    ),
  ],
)
def test_a_processor_of_another_model_is_refused(change, message, tmp_path):
  write(tmp_path, CONVERTED, PREPROCESSOR | change)
  with pytest.raises(ValueError, match=message):
    recipe.read(tmp_path)


def test_processors_are_read_as_old_or_new_transformers_write_them(tmp_path):
  fastvlm.write_preprocessor(write(tmp_path, CONVERTED))
  fields = json.loads((tmp_path / 'preprocessor_config.json').read_text())
  assert recipe.read(tmp_path).tile == fastvlm.SIDE
  (tmp_path / 'preprocessor_config.json').unlink()
  path = tmp_path / 'processor_config.json'
  path.write_text(json.dumps(dict(image_processor=fields, patch_size=64)))
  assert recipe.read(tmp_path).tile == fastvlm.SIDE

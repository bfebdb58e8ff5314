"""Sizes from configs, and the same configs in the eyes of transformers."""

import json

import pytest
import transformers

from tests import llava_weights
from visor_jax.families import table as families
from visor_jax.families.llava_onevision import config
from visor_jax.families.llava_onevision import sizes as named
from visor_jax.spec import sizes

# As on the hub: keys that have their defaults are left out.
PUBLISHED = {
  '0.5b': dict(
    model_type='llava_onevision',
    architectures=['LlavaOnevisionForConditionalGeneration'],
    tie_word_embeddings=False,
    vision_feature_layer=-1,
    text_config=dict(
      model_type='qwen2',
      hidden_size=896,
      intermediate_size=4864,
      num_hidden_layers=24,
      num_attention_heads=14,
      num_key_value_heads=2,
      rope_theta=1000000.0,
      tie_word_embeddings=True,
      vocab_size=152000,
    ),
    vision_config=dict(
      model_type='siglip_vision_model',
      hidden_size=1152,
      intermediate_size=4304,
      num_attention_heads=16,
      num_hidden_layers=26,
      image_size=384,
      patch_size=14,
      vision_use_head=False,
    ),
  ),
  '7b': dict(
    model_type='llava_onevision',
    architectures=['LlavaOnevisionForConditionalGeneration'],
    text_config=dict(
      model_type='qwen2',
      hidden_size=3584,
      intermediate_size=18944,
      num_hidden_layers=28,
      num_attention_heads=28,
      num_key_value_heads=4,
      rope_theta=1000000.0,
      vocab_size=152000,
    ),
  ),
}
ORIGINAL = dict(
  architectures=['LlavaQwenForCausalLM'],
  model_type='llava',
  hidden_size=896,
  intermediate_size=4864,
  num_hidden_layers=24,
  num_attention_heads=14,
  num_key_value_heads=2,
  rope_theta=1000000.0,
  rms_norm_eps=1e-6,
  tie_word_embeddings=True,
  vocab_size=152000,
  hidden_act='silu',
  use_sliding_window=False,
  rope_scaling=None,
  max_position_embeddings=32768,
  image_aspect_ratio='anyres_max_9',
  image_grid_pinpoints='(1x1),(1x2),(6x5),(6x6)',
  mm_hidden_size=1152,
  mm_patch_merge_type='spatial_unpad',
  mm_projector_type='mlp2x_gelu',
  mm_vision_select_layer=-2,
  mm_vision_tower='google/siglip-so400m-patch14-384',
)


def read(folder, values, **files):
  for name, value in dict(files, config=values).items():
    (folder / f'{name}.json').write_text(json.dumps(value))
  return families.of_folder(folder).read_config(folder)


def by_transformers(values) -> tuple:
  """Size and layers of the tower, with the defaults of transformers."""
  c = transformers.LlavaOnevisionConfig(**values)
  t, v = c.text_config, c.vision_config
  heads = t.num_attention_heads
  depth = range(v.num_hidden_layers + 1)[c.vision_feature_layer]
  return sizes.Size(
    sizes.Vision(
      v.hidden_size,
      depth,
      v.num_attention_heads,
      v.intermediate_size,
      (v.image_size,) * 2,
      v.patch_size,
      v.layer_norm_eps,
    ),
    sizes.Language(
      t.hidden_size,
      t.num_hidden_layers,
      heads,
      t.num_key_value_heads,
      getattr(t, 'head_dim', None) or t.hidden_size // heads,
      t.intermediate_size,
      t.vocab_size,
      c.tie_word_embeddings,
      t.rope_parameters['rope_theta'],
      t.rms_norm_eps,
      biases=t.model_type == 'qwen2',
    ),
  ), v.num_hidden_layers


@pytest.mark.parametrize('name', PUBLISHED)
def test_the_published_checkpoints_have_our_sizes(tmp_path, name):
  values = read(tmp_path, PUBLISHED[name])
  assert values.size == named.SIZES[name]
  assert values.tower_layers == 26
  assert values.config == PUBLISHED[name]
  assert (values.size, 26) == by_transformers(PUBLISHED[name])


@pytest.mark.parametrize(
  'change',
  [
    {},
    dict(text_config=dict(num_key_value_heads=None, num_attention_heads=8)),
    dict(text_config=dict(head_dim=96), vision_config=dict(layer_norm_eps=1.0)),
    dict(text_config=dict(rope_theta=5e5, rms_norm_eps=1e-5)),
    dict(
      text_config=dict(
        rope_parameters=dict(rope_theta=7e5, rope_type='default'), vocab_size=12
      )
    ),
    dict(vision_feature_layer=-2),
    dict(vision_feature_layer=3),
    dict(vision_config=dict(image_size=30, patch_size=14, hidden_size=36)),
    dict(tie_word_embeddings=True),
    dict(text_config=None, vision_config=None),
    dict(text_config=dict(model_type='llama')),
    dict(text_config=dict(model_type='llama', num_key_value_heads=4)),
  ],
)
def test_keys_that_are_left_out_have_the_defaults_of_transformers(
  tmp_path, change
):
  values = dict(change, model_type='llava_onevision')
  for part, kind in (
    ('text_config', 'qwen2'),
    ('vision_config', 'siglip_vision_model'),
  ):
    if values.get(part):
      values[part] = dict(model_type=kind) | values[part]
  known = read(tmp_path, values)
  assert (known.size, known.tower_layers) == by_transformers(values)


def test_what_transformers_writes(tmp_path):
  """Its own config.json, with rope_theta in rope_parameters."""
  written = llava_weights.build().config
  written.save_pretrained(tmp_path)
  values = config.read(tmp_path)
  assert values.size == by_transformers(written.to_dict())[0]
  assert values.size.language.rope_theta == 50000
  assert values.size.language.head_width == 12
  assert values.size.vision.tile == (20, 20)


def test_an_original(tmp_path):
  """Flat, with a tower by name that leaves out the last layer."""
  values = read(tmp_path, ORIGINAL)
  assert values.size == named.SIZES['0.5b']
  assert values.tower_layers == 26
  assert (values.size, 26) == by_transformers(values.config)
  written = transformers.LlavaOnevisionConfig(**values.config)
  assert written.image_grid_pinpoints == (
    transformers.LlavaOnevisionConfig().image_grid_pinpoints
  )
  assert written.vision_aspect_ratio == 'anyres_max_9'


def test_canvases_of_an_original(tmp_path):
  """Pairs are width, height there, and height, width with transformers."""
  values = read(
    tmp_path,
    dict(
      ORIGINAL,
      image_aspect_ratio='anyres',
      image_grid_pinpoints='[(384, 768), (1152, 384)]',
    ),
  ).config
  assert values['image_grid_pinpoints'] == [[768, 384], [384, 1152]]
  assert values['vision_aspect_ratio'] == 'anyres_max_9'


def test_pixels_as_the_processor_says(tmp_path):
  """transformers 4 has a file for it, 5 a part of another."""
  three = lambda mean, std: dict(image_mean=[mean] * 3, image_std=[std] * 3)
  pixels = lambda values: (values.size.vision.mean, values.size.vision.std)
  assert pixels(read(tmp_path, PUBLISHED['7b'])) == ((0.5,) * 3, (0.5,) * 3)
  nested = dict(image_processor=three(0.1, 0.2))
  assert pixels(read(tmp_path, PUBLISHED['7b'], processor_config=nested)) == (
    (0.1,) * 3,
    (0.2,) * 3,
  )
  (tmp_path / 'processor_config.json').unlink()
  clip = dict(image_mean=[0.48, 0.46, 0.41], image_std=[0.27, 0.26, 0.28])
  assert pixels(read(tmp_path, PUBLISHED['7b'], preprocessor_config=clip)) == (
    (0.48, 0.46, 0.41),
    (0.27, 0.26, 0.28),
  )


def changed(values, path, value):
  key, _, rest = path.partition('.')
  return dict(
    values,
    **{key: changed(values.get(key, {}), rest, value) if rest else value},
  )


@pytest.mark.parametrize(
  'path,value,why',
  [
    ('model_type', 'llava_next', 'llava_onevision, LlavaQwenForCausalLM'),
    ('model_type', 'blip_2', "model_type 'blip_2'"),
    ('text_config.model_type', 'qwen3', "text_config.model_type is 'qwen3'"),
    ('vision_config.model_type', 'clip_vision_model', 'clip_vision_model'),
    ('vision_config.hidden_act', 'gelu', "vision_config.hidden_act is 'gelu'"),
    ('text_config.use_sliding_window', True, 'use_sliding_window is True'),
    ('projector_hidden_act', 'relu', "projector_hidden_act is 'relu'"),
    ('vision_feature_select_strategy', 'default', "'full', which"),
    ('vision_feature_layer', [-1, -2], r'vision_feature_layer is \[-1, -2\]'),
    ('vision_feature_layer', -28, 'one of the outputs of 26 layers'),
    (
      'text_config.rope_scaling',
      dict(type='yarn', factor=4.0),
      "type is 'yarn'; expected 'default'",
    ),
    ('text_config.num_key_value_heads', 3, 'expected a divisor of 14'),
    ('text_config.head_dim', 63, 'head_dim is 63; expected an even number'),
    ('text_config.hidden_size', -896, 'expected an integer from 1'),
    ('text_config.rope_theta', float('nan'), 'expected a finite number'),
    ('text_config', [896], 'text_config is .896.; expected an object'),
    ('vision_config.num_hidden_layers', 10**9, 'from 1 to 1000'),
    ('vision_config.patch_size', 385, 'patch_size is 385; .* to 384'),
    ('tie_word_embeddings', 'yes', 'expected true or false'),
    ('architectures', 3, 'architectures is 3; expected a list of strings'),
    ('text_config.rope_parameters', dict(rope_type='linear'), 'linear'),
  ],
)
def test_another_architecture_is_an_error(tmp_path, path, value, why):
  with pytest.raises(ValueError, match=why) as e:
    read(tmp_path, changed(PUBLISHED['0.5b'], path, value))
  assert 'config.json' in str(e.value)


@pytest.mark.parametrize(
  'key,value,why',
  [
    ('mm_vision_tower', 'openai/clip-vit-large-patch14', 'one of .*siglip'),
    ('mm_projector_type', 'linear', "expected 'mlp2x_gelu'"),
    ('mm_patch_merge_type', 'flat', "expected 'spatial_unpad'"),
    ('image_grid_pinpoints', '(9999999x1)', 'at most 12'),
    ('image_grid_pinpoints', '(' * 9999, 'at most 12'),
    ('image_grid_pinpoints', [[1, 2, 3]], 'at most 12'),
    ('architectures', ['LlavaLlamaForCausalLM'], 'what can be imported is'),
  ],
)
def test_another_original_is_an_error(tmp_path, key, value, why):
  with pytest.raises(ValueError, match=why):
    read(tmp_path, dict(ORIGINAL, **{key: value}))


def test_no_config(tmp_path):
  with pytest.raises(ValueError, match='config.json is missing'):
    families.of_folder(tmp_path)

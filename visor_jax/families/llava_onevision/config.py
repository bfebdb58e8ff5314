"""Sizes from a checkpoint's config.json.

transformers leaves out keys that have their defaults, so the defaults are
here.
"""

import pathlib
from typing import Any

from visor_jax.families import family
from visor_jax.families.llava_onevision import original
from visor_jax.families.llava_onevision import preprocessor
from visor_jax.runtime import json_fields
from visor_jax.spec import sizes

# Of Qwen2 and SigLIP in transformers.
_TEXT: dict[str, Any] = dict(
  model_type='qwen2',
  hidden_size=4096,
  intermediate_size=22016,
  num_hidden_layers=32,
  num_attention_heads=32,
  num_key_value_heads=32,
  vocab_size=151936,
  max_position_embeddings=32_768,
  hidden_act='silu',
  rms_norm_eps=1e-6,
  rope_theta=1e4,
  use_sliding_window=False,
  tie_word_embeddings=False,
)
_VISION: dict[str, Any] = dict(
  model_type='siglip_vision_model',
  hidden_size=768,
  intermediate_size=3072,
  num_hidden_layers=12,
  num_attention_heads=12,
  num_channels=3,
  image_size=224,
  patch_size=16,
  hidden_act='gelu_pytorch_tanh',
  layer_norm_eps=1e-6,
)

# What the model does and the config could ask otherwise.
_FIXED_TEXT = dict(
  model_type='qwen2', hidden_act='silu', use_sliding_window=False
)
_FIXED_VISION = dict(
  model_type='siglip_vision_model',
  hidden_act='gelu_pytorch_tanh',
  num_channels=3,
)
_FIXED = dict(
  projector_hidden_act='gelu',
  multimodal_projector_bias=True,
  vision_feature_select_strategy='full',
)

DEPTH = 1000  # layers of a decoder or a tower, at most
SIDE = 4096  # pixels of a tile, at most

# Whatever else has one of the two is of another family.
MODEL_TYPE, ORIGINAL = 'llava_onevision', original.NAME


def as_transformers(folder: pathlib.Path) -> tuple[json_fields.Fields, bool]:
  """config.json as transformers has it, and whether it is of an original.

  Raises:
    OSError: it cannot be read.
    ValueError: it is broken, or of an original that the model cannot be.
  """
  config = json_fields.read(folder / 'config.json')
  if not original.is_original(config):
    return config, False
  values = original.to_transformers(config)
  return json_fields.Fields(values, config.where), True


def read(folder: pathlib.Path) -> family.HfConfig:
  """Reads config.json, and the pixels' mean and deviation, of a checkpoint.

  Raises:
    ValueError: it asks for what the model does not do.
  """
  config, is_original = as_transformers(folder)
  text = _with_defaults(config, 'text_config', _TEXT)
  tower = {} if config.has('vision_config') else original.DEFAULT_TOWER
  vision = _with_defaults(config, 'vision_config', _VISION | tower)
  for fields, fixed in (
    (text, _FIXED_TEXT),
    (vision, _FIXED_VISION),
    (config, _FIXED),
  ):
    for key, value in fixed.items():
      fields.require(key, value)
  layers = vision.integer('num_hidden_layers', most=DEPTH)
  images = preprocessor.read(folder, config, is_original)
  mean, std = preprocessor.normalisation(images)
  return family.HfConfig(
    size=sizes.Size(
      _vision_size(vision, _vision_depth(config, layers), mean, std),
      _language_size(text, config.flag('tie_word_embeddings', False)),
    ),
    tower_layers=layers,
    context=text.integer('max_position_embeddings', most=1 << 31),
    config=dict(config.values),
  )


def with_vocabulary(config: dict[str, Any], words: int) -> dict[str, Any]:
  """The config with as many words as the embedding has.

  Originals have more or fewer; transformers loads no such checkpoint.
  """
  text = _TEXT | (config.get('text_config') or {})
  if text['vocab_size'] == words:
    return config
  return config | dict(text_config=text | dict(vocab_size=words))


def _with_defaults(
  config: json_fields.Fields, part: str, defaults: dict[str, Any]
) -> json_fields.Fields:
  """A part of a config, with the defaults where it says nothing."""
  fields = config.fields(part)
  return json_fields.Fields(defaults | dict(fields.values), fields.where)


def _vision_size(
  vision: json_fields.Fields,
  depth: int,
  mean: sizes.Colours,
  std: sizes.Colours,
) -> sizes.Vision:
  side = vision.integer('image_size', most=SIDE)
  heads = vision.integer('num_attention_heads')
  width = vision.integer('hidden_size')
  if width % heads:
    raise vision.error('hidden_size', f'a multiple of {heads}, the heads')
  return sizes.Vision(
    width=width,
    depth=depth,
    heads=heads,
    mlp=vision.integer('intermediate_size'),
    tile=(side, side),
    patch=vision.integer('patch_size', most=side),
    norm_eps=vision.number('layer_norm_eps', least=0),
    mean=mean,
    std=std,
  )


def _language_size(text: json_fields.Fields, tied: bool) -> sizes.Language:
  heads = text.integer('num_attention_heads')
  width = text.integer('hidden_size')
  head_width = text.integer('head_dim', width // heads)
  if head_width % 2:
    raise text.error('head_dim', f'an even number; {width} / {heads} is none')
  key_heads = text.integer('num_key_value_heads', heads)
  if heads % key_heads:
    raise text.error('num_key_value_heads', f'a divisor of {heads}, the heads')
  return sizes.Language(
    width=width,
    depth=text.integer('num_hidden_layers', most=DEPTH),
    heads=heads,
    key_heads=key_heads,
    head_width=head_width,
    mlp=text.integer('intermediate_size'),
    vocabulary=text.integer('vocab_size'),
    tied=tied or text.flag('tie_word_embeddings', False),
    rope_theta=_rope_theta(text),
    norm_eps=text.number('rms_norm_eps', least=0),
  )


def _vision_depth(config: json_fields.Fields, layers: int) -> int:
  """How many layers run before the features are read."""
  key = 'vision_feature_layer'
  at = config.values.get(key, -1)
  at = at[0] if isinstance(at, list) and len(at) == 1 else at
  integer = isinstance(at, int) and not isinstance(at, bool)
  depth = layers + 1 + at if integer and at < 0 else at
  if not integer or not 0 < depth <= layers:
    raise config.error(
      key, f'one of the outputs of {layers} layers, -1 that of the last'
    )
  return depth


def _rope_theta(text: json_fields.Fields) -> float:
  name = 'rope_parameters' if text.has('rope_parameters') else 'rope_scaling'
  rope = text.fields(name)
  kind = 'rope_type' if rope.has('rope_type') else 'type'
  rope.require(kind, 'default')
  return rope.number('rope_theta', text.number('rope_theta', least=1), least=1)

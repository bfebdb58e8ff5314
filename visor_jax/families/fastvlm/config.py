"""Sizes from a checkpoint's config.json, and config.json for Apple's.

transformers leaves out keys that have their defaults, so the defaults are
here. Apple's checkpoints have one flat config, and their tower is a name.
"""

import pathlib
import re
from typing import Any

from visor_jax.families import family
from visor_jax.families import text_config
from visor_jax.families.fastvlm import recipe
from visor_jax.families.fastvlm import sizes
from visor_jax.runtime import json_fields
from visor_jax.spec import sizes as sizes_lib

# Whatever else has one of the two is of another family.
MODEL_TYPE, APPLE = 'fast_vlm', 'llava_qwen2'

_TEXT = text_config.DEFAULTS | dict(
  hidden_size=3584,
  vocab_size=152_128,
  intermediate_size=18944,
  num_attention_heads=28,
  num_key_value_heads=4,
  num_hidden_layers=28,
)
_VISION: dict[str, Any] = dict(
  model_type='timm_wrapper',
  architecture='fastvit_mci3',
  hidden_size=3072,
  model_args=dict(inference_mode=True),
)
_WIDTH = 96  # of the first stage

# What the model does and the config could ask otherwise.
_FIXED = dict(
  projector_hidden_act='gelu',
  multimodal_projector_bias=True,
  vision_feature_select_strategy='full',
  vision_feature_layer=-1,
)
_FIXED_VISION = dict(model_type='timm_wrapper', architecture='fastvit_mci3')
_FIXED_APPLE = dict(
  mm_projector_type='mlp2x_gelu',
  mm_hidden_size=3072,
  mm_patch_merge_type='flat',
)


def read(folder: pathlib.Path) -> family.HfConfig:
  """Reads config.json of a checkpoint.

  Raises:
    ValueError: it asks for what the model does not do.
  """
  config = json_fields.read(folder / 'config.json')
  images = recipe.read(folder)
  if config.text('model_type', '') == APPLE:
    config = json_fields.Fields(_from_apple(config, images), config.where)
  text = config.fields('text_config')
  if config.has('text_config'):
    text = text_config.with_defaults(text)
  else:
    text = text.with_defaults(_TEXT)
  vision = config.fields('vision_config').with_defaults(_VISION)
  config.require_all(_FIXED)
  vision.require_all(_FIXED_VISION)
  tower = _tower(vision, images.tile)
  return family.HfConfig(
    size=sizes_lib.Size(
      tower, text_config.size(text, config.flag('tie_word_embeddings', False))
    ),
    tower_layers=tower.depth,
    context=text_config.context(text),
    config=dict(config.values),
  )


def _tower(vision: json_fields.Fields, side: int) -> sizes_lib.Vision:
  """FastViTHD, or one of other widths and depths, as timm is asked for it."""
  arguments = vision.fields('model_args')
  doubled = [_WIDTH << stage for stage in range(len(sizes.STAGES))]
  layers = arguments.integers('layers', [*sizes.STAGES], most=text_config.DEPTH)
  widths = arguments.integers('embed_dims', doubled)
  others = {*arguments.values} - {'layers', 'embed_dims', 'inference_mode'}
  if others or len(layers) != len(doubled) or min(layers) < 1:
    raise vision.error(
      'model_args',
      f'inference_mode, layers of {len(doubled)} stages and embed_dims',
    )
  arguments.require('inference_mode', True)
  if not arguments.has('inference_mode'):
    raise arguments.error('inference_mode', 'true')
  if widths != [widths[0] << stage for stage in range(len(layers))]:
    raise arguments.error('embed_dims', 'twice as many from stage to stage')
  if widths[-2] % sizes.HEAD or not widths[0]:
    raise arguments.error(
      'embed_dims', f'heads of {sizes.HEAD} in the last two stages'
    )
  if vision.integer('hidden_size') != 2 * widths[-1]:
    raise vision.error('hidden_size', f'twice {widths[-1]}, the last width')
  return sizes.tower(side, widths[-1], tuple(layers))


def _from_apple(
  flat: json_fields.Fields, images: recipe.Recipe
) -> dict[str, Any]:
  """The config of one of Apple's checkpoints, as transformers has it."""
  if not re.fullmatch(r'mobileclip_l_\d+', flat.text('mm_vision_tower', '')):
    raise flat.error('mm_vision_tower', 'mobileclip_l_1024')
  flat.require_all(_FIXED_APPLE)
  return dict(
    architectures=['FastVlmForConditionalGeneration'],
    model_type=MODEL_TYPE,
    text_config=text_config.of_flat(flat),
    vision_config=_VISION,
    vision_feature_layer=-1,
    vision_feature_select_strategy='full',
    projector_hidden_act='gelu',
    image_token_index=151646,
    image_seq_length=images.patches,
    image_aspect_ratio=images.fit,
    tie_word_embeddings=flat.flag('tie_word_embeddings', False),
  )

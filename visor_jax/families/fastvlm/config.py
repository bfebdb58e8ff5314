"""Sizes from a checkpoint's config.json, and config.json for Apple's.

transformers leaves out keys that have their defaults, so the defaults are
here. Apple's checkpoints have one flat config, and their tower is a name.
"""

import json
import pathlib
import re
from typing import Any

from visor_jax.families import family
from visor_jax.families import qwen2
from visor_jax.families.fastvlm import recipe
from visor_jax.families.fastvlm import sizes
from visor_jax.spec import sizes as sizes_lib

# Whatever else has one of the two is of another family.
MODEL_TYPE, APPLE = 'fast_vlm', 'llava_qwen2'

_TEXT = qwen2.DEFAULTS | dict(
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
  path = folder / 'config.json'
  config = json.loads(path.read_text('utf-8'))
  images = recipe.read(folder)
  if config.get('model_type') == APPLE:
    config = _from_apple(config, images, path)
  text = (_TEXT if 'text_config' not in config else qwen2.DEFAULTS) | (
    config.get('text_config') or {}
  )
  vision = _VISION | (config.get('vision_config') or {})
  qwen2.require_fixed(config, _FIXED, f'{path}: ')
  qwen2.require_fixed(vision, _FIXED_VISION, f'{path}: vision_config.')
  tower = _tower(vision, images.side, path)
  return family.HfConfig(
    size=sizes_lib.Size(
      tower,
      qwen2.size(text, bool(config.get('tie_word_embeddings')), path),
    ),
    tower_layers=tower.depth,
    context=text['max_position_embeddings'],
    config=config,
  )


def _tower(
  vision: dict[str, Any], side: int, path: pathlib.Path
) -> sizes_lib.Vision:
  """FastViTHD, or one of other widths and depths, as timm is asked for it."""
  arguments = dict(vision['model_args'] or {})
  layers = tuple(arguments.pop('layers', sizes.STAGES))
  doubled = [_WIDTH << stage for stage in range(len(sizes.STAGES))]
  widths = list(arguments.pop('embed_dims', doubled))
  if arguments != dict(inference_mode=True) or len(layers) != len(doubled):
    raise ValueError(
      f'{path}: vision_config.model_args are {vision["model_args"]}; the model '
      f'has inference_mode, layers of {len(doubled)} stages and embed_dims'
    )
  if widths != [widths[0] << stage for stage in range(len(layers))]:
    raise ValueError(
      f'{path}: embed_dims are {widths}; the model has twice as many from '
      'stage to stage'
    )
  if vision['hidden_size'] != 2 * widths[-1] or widths[-2] % sizes.HEAD:
    raise ValueError(
      f'{path}: vision_config.hidden_size is {vision["hidden_size"]} and '
      f'embed_dims are {widths}; the model has twice the last, and heads of '
      f'{sizes.HEAD} in the last two'
    )
  return sizes.tower(side, widths[-1], layers)


def _from_apple(
  flat: dict[str, Any], images: recipe.Recipe, path: pathlib.Path
) -> dict[str, Any]:
  """The config of one of Apple's checkpoints, as transformers has it."""
  tower = str(flat.get('mm_vision_tower'))
  if not re.fullmatch(r'mobileclip_l_\d+', tower):
    raise ValueError(
      f'{path}: mm_vision_tower is {tower!r}; the model has mobileclip_l_1024'
    )
  qwen2.require_fixed(flat, _FIXED_APPLE, f'{path}: ')
  return dict(
    architectures=['FastVlmForConditionalGeneration'],
    model_type=MODEL_TYPE,
    text_config=qwen2.of_flat(flat),
    vision_config=_VISION,
    vision_feature_layer=-1,
    vision_feature_select_strategy='full',
    projector_hidden_act='gelu',
    image_token_index=151646,
    image_seq_length=images.patches,
    image_aspect_ratio=images.fit,
    tie_word_embeddings=flat.get('tie_word_embeddings', False),
  )

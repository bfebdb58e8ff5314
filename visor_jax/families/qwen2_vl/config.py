"""Sizes from a checkpoint's config.json, of Qwen2-VL or Qwen2.5-VL.

Those on the hub are flat, the decoder's keys beside the others; transformers
writes them apart. It leaves out keys that have their defaults, so the defaults
are here.
"""

import dataclasses
import pathlib
from typing import Any

from visor_jax.families import family
from visor_jax.families import text_config
from visor_jax.families.qwen2_vl import recipe
from visor_jax.families.qwen2_vl import sizes
from visor_jax.runtime import json_fields
from visor_jax.spec import sizes as sizes_lib

# Whatever else has it is of another family.
FULL = 'qwen2_vl'
MODEL_TYPES = FULL, recipe.WINDOWED

_TEXT = text_config.DEFAULTS | dict(
  vocab_size=152_064,
  hidden_size=8192,
  intermediate_size=29568,
  num_hidden_layers=80,
  num_attention_heads=64,
  num_key_value_heads=8,
  rms_norm_eps=1e-5,
  rope_theta=1e6,
)
_VISION: dict[str, Any] = dict(depth=32, num_heads=16, patch_size=14)
_FULL: dict[str, Any] = dict(embed_dim=1280, hidden_size=3584, mlp_ratio=4)
_WINDOWED: dict[str, Any] = dict(
  hidden_size=3584,
  intermediate_size=3420,
  out_hidden_size=3584,
  window_size=112,
  fullatt_block_indexes=[7, 15, 23, 31],
)
# What the model does and the config could ask otherwise.
_FIXED_VISION = dict(
  in_channels=3, spatial_merge_size=sizes.MERGE, temporal_patch_size=2
)
_FIXED_ROPE = dict(rope_type='axial', rope_theta=1e4)


def read(folder: pathlib.Path) -> family.HfConfig:
  """Reads config.json of a checkpoint.

  Raises:
    ValueError: it asks for what the model does not do.
  """
  config = json_fields.read(folder / 'config.json')
  nested = config.has('text_config')
  text = config.fields('text_config') if nested else config
  text = text.with_defaults(_TEXT)
  vision = config.fields('vision_config').with_defaults(_VISION)
  vision.require_all(_FIXED_VISION)
  vision.fields('rope_parameters').require_all(_FIXED_ROPE)
  tied = config.flag('tie_word_embeddings', False)
  language = _language(text, tied)
  windowed = config.text('model_type', FULL) == recipe.WINDOWED
  read_tower = _windowed if windowed else _full
  tower = read_tower(vision, recipe.read(folder), language.width)
  return family.HfConfig(
    size=sizes_lib.Size(tower, language),
    tower_layers=tower.depth,
    context=text_config.context(text),
    config=dict(config.values),
  )


def with_vocabulary(config: dict[str, Any], words: int) -> dict[str, Any]:
  """The config with as many words as the embedding has."""
  text = config.get('text_config') or config
  if text.get('vocab_size', _TEXT['vocab_size']) == words:
    return config
  changed = text | dict(vocab_size=words)
  return changed if text is config else config | dict(text_config=changed)


def _language(text: json_fields.Fields, tied: bool) -> sizes_lib.Language:
  """Qwen2, but for its positions of three numbers."""
  name = 'rope_parameters' if text.has('rope_parameters') else 'rope_scaling'
  rope = text.fields(name)
  sections = tuple(rope.integers('mrope_section', [16, 24, 24]))
  plain = dict(rope.values)
  for key in ('type', 'rope_type'):
    if plain.get(key) == 'mrope':
      plain[key] = 'default'
  values = dict(text.values) | {name: plain, 'model_type': 'qwen2'}
  language = text_config.size(json_fields.Fields(values, text.where), tied)
  if len(sections) != 3 or 2 * sum(sections) != language.head_width:
    raise rope.error(
      'mrope_section', f'three numbers that add up to {language.head_width} / 2'
    )
  return dataclasses.replace(language, rope_sections=sections)


def _full(
  vision: json_fields.Fields, images: recipe.Recipe, width: int
) -> sizes_lib.Vision:
  """The tower of Qwen2-VL, in front of a decoder of a width."""
  vision = vision.with_defaults(_FULL)
  vision.require('hidden_act', 'quick_gelu')
  _require_width(vision, 'hidden_size', width)
  tower = _tower(vision, images, 'embed_dim')
  ratio = vision.integer('mlp_ratio')
  return dataclasses.replace(tower, mlp=ratio * tower.width)


def _windowed(
  vision: json_fields.Fields, images: recipe.Recipe, width: int
) -> sizes_lib.Vision:
  """The tower of Qwen2.5-VL, likewise."""
  vision = vision.with_defaults(_WINDOWED)
  vision.require('hidden_act', 'silu')
  _require_width(vision, 'out_hidden_size', width)
  if vision.integer('window_size') < images.tile:
    raise vision.error('window_size', f'{images.tile} pixels, a tile, or more')
  tower = _tower(vision, images, 'hidden_size')
  full = vision.integers('fullatt_block_indexes', most=tower.depth - 1)
  return dataclasses.replace(
    tower,
    mlp=vision.integer('intermediate_size'),
    window=images.window,
    full_layers=tuple(sorted({*full})),
  )


def _require_width(vision: json_fields.Fields, key: str, width: int) -> None:
  if vision.integer(key) != width:
    raise vision.error(key, f'the width of text, {width}')


def _tower(
  vision: json_fields.Fields, images: recipe.Recipe, width_key: str
) -> sizes_lib.Vision:
  """What both have, as wide as a key says; the MLP is not known yet."""
  width, heads = vision.integer(width_key), vision.integer('num_heads')
  if width % (4 * heads):
    raise vision.error(width_key, f'a multiple of 4 * {heads}, the heads')
  patch = vision.integer('patch_size', most=recipe.PATCH)
  if sizes.MERGE * patch != images.tile:
    raise vision.error(
      'patch_size', f'that of the processor, {images.tile // sizes.MERGE}'
    )
  return sizes_lib.Vision(
    width=width,
    depth=vision.integer('depth', most=text_config.DEPTH),
    heads=heads,
    mlp=0,
    tile=(images.tile, images.tile),
    patch=patch,
    mean=images.mean,
    std=images.std,
    merge=sizes.MERGE,
  )

"""config.json of the originals (lmms-lab, LlavaQwenForCausalLM).

They have one flat config, their vision tower is a name, and nothing speaks of
images: the tower's own preprocessing is meant.
"""

import ast
import re
from typing import Any

from visor_jax.families import text_config
from visor_jax.runtime import json_fields

NAME = 'LlavaQwenForCausalLM'

_SO400M: dict[str, Any] = dict(
  model_type='siglip_vision_model',
  hidden_size=1152,
  intermediate_size=4304,
  num_hidden_layers=26,
  num_attention_heads=16,
  image_size=384,
  patch_size=14,
  vision_use_head=False,
)
# The towers that the originals name, and what a config without a tower means.
TOWERS: dict[str, dict[str, Any]] = {'siglip-so400m-patch14-384': _SO400M}
DEFAULT_TOWER = _SO400M

SIDES = 12  # tiles of a canvas each way, at most; the published have 6


def is_original(config: json_fields.Fields) -> bool:
  """Whether a config.json is of an original."""
  return NAME in config.strings('architectures')


def to_transformers(flat: json_fields.Fields) -> dict[str, Any]:
  """The config of an original, as transformers has it.

  Raises:
    ValueError: it is of another tower, or asks for what the model does not do.
  """
  tower = flat.text('mm_vision_tower', '').split('/')[-1]
  if tower not in TOWERS:
    raise flat.error('mm_vision_tower', f'one of {sorted(TOWERS)}')
  for key, value in (
    ('mm_projector_type', 'mlp2x_gelu'),
    ('mm_patch_merge_type', 'spatial_unpad'),
  ):
    if flat.text(key, '') != value:
      raise flat.error(key, f'{value!r}, which is what the model has')
  # The tower of the originals leaves out SigLIP's last layer and head, and
  # gives the output of what is left, whatever mm_vision_select_layer says.
  vision = dict(TOWERS[tower], model_type='siglip_vision_model')
  aspect = flat.text('image_aspect_ratio', 'anyres_max_9')
  return dict(
    architectures=['LlavaOnevisionForConditionalGeneration'],
    model_type='llava_onevision',
    text_config=text_config.of_flat(flat),
    vision_config=vision,
    vision_feature_layer=-1,
    vision_feature_select_strategy='full',
    projector_hidden_act='gelu',
    image_token_index=151646,
    video_token_index=151647,
    tie_word_embeddings=flat.flag('tie_word_embeddings', False),
    image_grid_pinpoints=_canvases(flat, vision['image_size']),
    # Plain "anyres" goes with so few tiles that nothing is made smaller.
    vision_aspect_ratio='anyres_max_9' if aspect == 'anyres' else aspect,
  )


def preprocessor(config: dict[str, Any]) -> dict[str, Any]:
  """preprocessor_config.json of an original, which has none: SigLIP's.

  Args:
    config: as `to_transformers` gives it.
  """
  side = config['vision_config']['image_size']
  return dict(
    image_mean=[0.5, 0.5, 0.5],
    image_std=[0.5, 0.5, 0.5],
    size=dict(height=side, width=side),
    image_grid_pinpoints=config['image_grid_pinpoints'],
  )


def _canvases(flat: json_fields.Fields, side: int) -> list[list[int]]:
  """'(1x1),...,(6x6)' or '[(768, 384), ...]' as [[height, width], ...]."""
  key = 'image_grid_pinpoints'
  pinpoints = flat.values.get(key) or '(6x6)'
  wrong = flat.error(
    key, f'"(1x1),...,(6x6)" with at most {SIDES}, or pairs of width and height'
  )
  if isinstance(pinpoints, str) and 'x' in pinpoints:
    tiles = [int(n) for n in re.findall(r'\d{1,9}', pinpoints)]
    if not tiles or not 1 <= max(tiles) <= SIDES:
      raise wrong
    steps = range(side, max(tiles) * side + 1, side)
    return [[height, width] for height in steps for width in steps]
  try:
    if isinstance(pinpoints, str):
      pinpoints = ast.literal_eval(pinpoints[:10_000])
    return [[height, width] for width, height in pinpoints]
  except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
    raise wrong from None

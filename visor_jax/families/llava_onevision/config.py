"""Sizes from a checkpoint's config.json, and config.json for the originals.

transformers leaves out keys that have their defaults, so the defaults are
here. The originals (lmms-lab, LlavaQwenForCausalLM) have one flat config, and
their vision tower is a name.
"""

import ast
from collections.abc import Mapping
from collections.abc import Sequence
import json
import pathlib
import re
from typing import Any

from visor_jax.families import family
from visor_jax.spec import sizes

_TEXT: dict[str, Any] = dict(
  model_type='qwen2',
  hidden_size=4096,
  intermediate_size=22016,
  num_hidden_layers=32,
  num_attention_heads=32,
  num_key_value_heads=32,
  vocab_size=151936,
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
_SO400M: dict[str, Any] = dict(
  hidden_size=1152,
  intermediate_size=4304,
  num_hidden_layers=26,
  num_attention_heads=16,
  image_size=384,
  patch_size=14,
  vision_use_head=False,
)
# Where `vision_config` is missing, and the towers that the originals name.
TOWERS: dict[str, dict[str, Any]] = {'siglip-so400m-patch14-384': _SO400M}

# What the model does and the config could ask otherwise.
_FIXED = {
  'text_config': dict(
    model_type='qwen2', hidden_act='silu', use_sliding_window=False
  ),
  'vision_config': dict(
    model_type='siglip_vision_model',
    hidden_act='gelu_pytorch_tanh',
    num_channels=3,
  ),
  None: dict(
    projector_hidden_act='gelu',
    multimodal_projector_bias=True,
    vision_feature_select_strategy='full',
  ),
}


# Where max_position_embeddings is missing: that of Qwen2 in transformers.
_CONTEXT = 32_768

# Whatever else has one of the two is of another family.
MODEL_TYPE, ORIGINAL = 'llava_onevision', 'LlavaQwenForCausalLM'


def read(folder: pathlib.Path) -> family.HfConfig:
  """Reads config.json, and the pixels' mean and deviation, of a checkpoint.

  Raises:
    ValueError: it asks for what the model does not do.
  """
  path = folder / 'config.json'
  config = json.loads(path.read_text())
  if ORIGINAL in config.get('architectures', ()):
    config = _from_original(config, path)
  text = _TEXT | (config.get('text_config') or {})
  vision = _VISION | (config.get('vision_config') or _SO400M)
  parts = {'text_config': text, 'vision_config': vision, None: config}
  _require_fixed(parts, path)
  return family.HfConfig(
    size=sizes.Size(
      _vision_size(
        vision,
        _vision_depth(config, vision['num_hidden_layers'], path),
        *_pixels(path.parent),
      ),
      _language_size(
        text,
        tied=bool(
          text['tie_word_embeddings'] or config.get('tie_word_embeddings')
        ),
        rope_theta=_rope_theta(text, path),
      ),
    ),
    tower_layers=vision['num_hidden_layers'],
    context=text.get('max_position_embeddings', _CONTEXT),
    config=config,
  )


def with_vocabulary(config: dict[str, Any], words: int) -> dict[str, Any]:
  """The config with as many words as the embedding has.

  Originals have more or fewer; transformers loads no such checkpoint.
  """
  text = _TEXT | (config.get('text_config') or {})
  if text['vocab_size'] == words:
    return config
  return config | dict(text_config=text | dict(vocab_size=words))


def _require_fixed(
  parts: Mapping[str | None, dict[str, Any]], path: pathlib.Path
) -> None:
  for part, fixed in _FIXED.items():
    for key, value in fixed.items():
      if parts[part].get(key, value) != value:
        raise ValueError(
          f'{path}: {part + "." if part else ""}{key} is '
          f'{parts[part][key]!r}; the model has {value!r}'
        )


def _vision_size(
  vision: dict[str, Any], depth: int, mean: float, std: float
) -> sizes.Vision:
  return sizes.Vision(
    width=vision['hidden_size'],
    depth=depth,
    heads=vision['num_attention_heads'],
    mlp=vision['intermediate_size'],
    tile=(vision['image_size'], vision['image_size']),
    patch=vision['patch_size'],
    norm_eps=vision['layer_norm_eps'],
    mean=mean,
    std=std,
  )


def _language_size(
  text: dict[str, Any], tied: bool, rope_theta: float
) -> sizes.Language:
  heads = text['num_attention_heads']
  return sizes.Language(
    width=text['hidden_size'],
    depth=text['num_hidden_layers'],
    heads=heads,
    key_heads=text['num_key_value_heads'] or heads,
    head_width=text.get('head_dim') or text['hidden_size'] // heads,
    mlp=text['intermediate_size'],
    vocabulary=text['vocab_size'],
    tied=tied,
    rope_theta=rope_theta,
    norm_eps=text['rms_norm_eps'],
  )


def _vision_depth(
  config: dict[str, Any], layers: int, path: pathlib.Path
) -> int:
  """How many layers run before the features are read."""
  at = config.get('vision_feature_layer', -1)
  at = at[0] if isinstance(at, list) and len(at) == 1 else at
  depth = layers + 1 + at if isinstance(at, int) and at < 0 else at
  if not isinstance(depth, int) or not 0 < depth <= layers:
    raise ValueError(
      f'{path}: vision_feature_layer is {at}; it names one of the outputs of '
      f'{layers} layers, -1 that of the last'
    )
  return depth


def _rope_theta(text: dict[str, Any], path: pathlib.Path) -> float:
  rope = text.get('rope_parameters') or text.get('rope_scaling') or {}
  kind = rope.get('rope_type', rope.get('type', 'default'))
  if kind != 'default':
    raise ValueError(
      f'{path}: the rotary positions are of type {kind!r}; the '
      'model has "default"'
    )
  return float(rope.get('rope_theta', text['rope_theta']))


def _pixels(folder: pathlib.Path) -> tuple[float, float]:
  """Mean and deviation that pixels / 255 are normalised by."""
  images: dict[str, Any] = {}
  for name in ('processor_config.json', 'preprocessor_config.json'):
    if (folder / name).exists():
      settings = json.loads((folder / name).read_text())
      images = settings.get('image_processor', settings)
  values = [images.get(key, [0.5]) for key in ('image_mean', 'image_std')]
  if any(len(set(v)) != 1 for v in values):
    raise ValueError(
      f'{folder}: image_mean and image_std are {values}; the '
      'model has one value for all colours'
    )
  return values[0][0], values[1][0]


def _from_original(flat: dict[str, Any], path: pathlib.Path) -> dict[str, Any]:
  """The config of an original, as transformers has it."""
  tower = str(flat.get('mm_vision_tower')).split('/')[-1]
  if tower not in TOWERS:
    raise ValueError(
      f'{path}: mm_vision_tower is {tower!r}; known are {sorted(TOWERS)}'
    )
  for key, value in (
    ('mm_projector_type', 'mlp2x_gelu'),
    ('mm_patch_merge_type', 'spatial_unpad'),
  ):
    if flat.get(key) != value:
      raise ValueError(
        f'{path}: {key} is {flat.get(key)!r}; the model has {value!r}'
      )
  keys = (
    *_TEXT,
    'head_dim',
    'rope_scaling',
    'max_position_embeddings',
    'max_window_layers',
    'sliding_window',
    'bos_token_id',
    'eos_token_id',
  )
  text = {k: flat[k] for k in keys if k in flat} | dict(model_type='qwen2')
  # The tower of the originals leaves out SigLIP's last layer and head, and
  # gives the output of what is left, whatever mm_vision_select_layer says.
  vision = _VISION | TOWERS[tower]
  aspect = flat.get('image_aspect_ratio', 'anyres_max_9')
  return dict(
    architectures=['LlavaOnevisionForConditionalGeneration'],
    model_type='llava_onevision',
    text_config=text,
    vision_config=vision,
    vision_feature_layer=-1,
    vision_feature_select_strategy='full',
    projector_hidden_act='gelu',
    image_token_index=151646,
    video_token_index=151647,
    tie_word_embeddings=flat.get('tie_word_embeddings', False),
    image_grid_pinpoints=_canvases(
      flat.get('image_grid_pinpoints', '(6x6)'), vision['image_size']
    ),
    # Plain "anyres" goes with so few tiles that nothing is made smaller.
    vision_aspect_ratio=aspect if aspect[-1].isdigit() else 'anyres_max_9',
  )


def _canvases(
  pinpoints: str | Sequence[Sequence[int]], side: int
) -> list[list[int]]:
  """'(1x1),...,(6x6)' or '[(768, 384), ...]' as [[height, width], ...]."""
  if isinstance(pinpoints, str) and 'x' in pinpoints:
    largest = max(int(n) for n in re.findall(r'\d+', pinpoints)) * side
    steps = range(side, largest + 1, side)
    return [[height, width] for height in steps for width in steps]
  pairs = (
    ast.literal_eval(pinpoints) if isinstance(pinpoints, str) else pinpoints
  )
  return [[height, width] for width, height in pairs]

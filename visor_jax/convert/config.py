"""Sizes from a checkpoint's config.json, and config.json for the originals.

transformers leaves out keys that have their defaults, so the defaults are
here. The originals (lmms-lab, LlavaQwenForCausalLM) have one flat config, and
their vision tower is a name.
"""

import ast
import dataclasses
import json
import pathlib
import re

from visor_jax.spec import sizes

_TEXT = dict(
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
_VISION = dict(
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
_SO400M = dict(
  hidden_size=1152,
  intermediate_size=4304,
  num_hidden_layers=26,
  num_attention_heads=16,
  image_size=384,
  patch_size=14,
  vision_use_head=False,
)
# Where `vision_config` is missing, and the towers that the originals name.
TOWERS = {'siglip-so400m-patch14-384': _SO400M}

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


@dataclasses.dataclass(frozen=True)
class Architecture:
  """What a config.json says.

  Attributes:
    size: with the vocabulary of the config, tied where the config says so.
    vision_layers: of the checkpoint's vision tower; the size has those that
      run.
    config: as transformers has it, also where the file is that of an original.
    original: the file is that of an original.
  """

  size: sizes.Size
  vision_layers: int
  config: dict
  original: bool


def read(folder) -> Architecture:
  """Reads config.json, and the pixels' mean and deviation, of a checkpoint.

  Raises:
    ValueError: there is none, or it is of another architecture.
  """
  path = pathlib.Path(folder) / 'config.json'
  if not path.exists():
    raise ValueError(
      f'{path} is missing: --src is a folder that transformers '
      'can read, or the name of one on the hub'
    )
  config = json.loads(path.read_text())
  original = 'LlavaQwenForCausalLM' in config.get('architectures', ())
  if original:
    config = _from_original(config, path)
  if config.get('model_type') != 'llava_onevision':
    raise ValueError(
      f'{path} is of {config.get("architectures")} (model_type '
      f'{config.get("model_type")!r}); what can be imported is '
      'LlavaOnevisionForConditionalGeneration and LlavaQwenForCausalLM'
    )
  text = _TEXT | (config.get('text_config') or {})
  vision = _VISION | (config.get('vision_config') or _SO400M)
  have = {'text_config': text, 'vision_config': vision, None: config}
  for part, fixed in _FIXED.items():
    for key, value in fixed.items():
      if have[part].get(key, value) != value:
        raise ValueError(
          f'{path}: {part + "." if part else ""}{key} is '
          f'{have[part][key]!r}; the model has {value!r}'
        )
  depth = _vision_depth(config, vision['num_hidden_layers'], path)
  tied = text['tie_word_embeddings'] or config.get('tie_word_embeddings')
  mean, std = _pixels(path.parent)
  size = sizes.Size(
    sizes.Vision(
      vision['hidden_size'],
      depth,
      vision['num_attention_heads'],
      vision['intermediate_size'],
      (vision['image_size'],) * 2,
      vision['patch_size'],
      vision['layer_norm_eps'],
      mean,
      std,
    ),
    sizes.Language(
      text['hidden_size'],
      text['num_hidden_layers'],
      text['num_attention_heads'],
      text['num_key_value_heads'] or text['num_attention_heads'],
      text.get('head_dim')
      or (text['hidden_size'] // text['num_attention_heads']),
      text['intermediate_size'],
      text['vocab_size'],
      bool(tied),
      _rope_theta(text, path),
      text['rms_norm_eps'],
    ),
  )
  return Architecture(size, vision['num_hidden_layers'], config, original)


def with_vocabulary(config: dict, rows: int) -> dict:
  """The config with as many words as the embedding has rows.

  Originals have more or fewer; transformers loads no such checkpoint.
  """
  text = _TEXT | (config.get('text_config') or {})
  if text['vocab_size'] == rows:
    return config
  return config | dict(text_config=text | dict(vocab_size=rows))


def _vision_depth(config, layers, path) -> int:
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


def _rope_theta(text, path) -> float:
  rope = text.get('rope_parameters') or text.get('rope_scaling') or {}
  kind = rope.get('rope_type', rope.get('type', 'default'))
  if kind != 'default':
    raise ValueError(
      f'{path}: the rotary positions are of type {kind!r}; the '
      'model has "default"'
    )
  return float(rope.get('rope_theta', text['rope_theta']))


def _pixels(folder) -> tuple[float, float]:
  """Mean and deviation that pixels / 255 are normalised by."""
  found = {}
  for name in ('processor_config.json', 'preprocessor_config.json'):
    if (folder / name).exists():
      read = json.loads((folder / name).read_text())
      found = read.get('image_processor', read)
  values = [found.get(key, [0.5]) for key in ('image_mean', 'image_std')]
  if any(len(set(v)) != 1 for v in values):
    raise ValueError(
      f'{folder}: image_mean and image_std are {values}; the '
      'model has one value for all colours'
    )
  return values[0][0], values[1][0]


def _from_original(flat: dict, path) -> dict:
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


def _canvases(written, side: int) -> list:
  """'(1x1),...,(6x6)' or '[(768, 384), ...]' as [[height, width], ...]."""
  if 'x' in written:
    most = max(int(n) for n in re.findall(r'\d+', written)) * side
    steps = range(side, most + 1, side)
    return [[height, width] for height in steps for width in steps]
  if isinstance(written, str):
    written = ast.literal_eval(written)
  return [[height, width] for width, height in written]

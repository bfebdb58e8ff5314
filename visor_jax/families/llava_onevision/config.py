"""Sizes from a checkpoint's config.json.

transformers leaves out keys that have their defaults, so the defaults are
here.
"""

from collections.abc import Mapping
import pathlib
from typing import Any

from visor_jax.families import family
from visor_jax.families import text_config
from visor_jax.families.llava_onevision import original
from visor_jax.families.llava_onevision import preprocessor
from visor_jax.runtime import json_fields
from visor_jax.spec import sizes

# Of SigLIP in transformers.
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
  text = text_config.with_defaults(config.fields('text_config'))
  tower = {} if config.has('vision_config') else original.DEFAULT_TOWER
  vision = config.fields('vision_config').with_defaults(_VISION | tower)
  vision.require_all(_FIXED_VISION)
  config.require_all(_FIXED)
  layers = vision.integer('num_hidden_layers', most=text_config.DEPTH)
  images = preprocessor.read(folder, config, is_original)
  mean, std = preprocessor.normalisation(images)
  return family.HfConfig(
    size=sizes.Size(
      _vision_size(vision, _vision_depth(config, layers), mean, std),
      text_config.size(text, config.flag('tie_word_embeddings', False)),
    ),
    tower_layers=layers,
    context=text_config.context(text),
    config=dict(config.values),
  )


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


def of_parts(
  text: Mapping[str, Any],
  vision: Mapping[str, Any],
  image: tuple[str, int],
  video: tuple[str, int],
) -> dict[str, dict[str, Any]]:
  """{file: what it says} of a checkpoint that is put together of parts.

  Args:
    text: config of the decoder, as transformers has it.
    vision: likewise of the tower, whose square tiles make up to 6 x 6.
    image: word of an image, and its id.
    video: likewise.
  """
  side = vision['image_size']
  canvases = [[side * i, side * j] for i in range(1, 7) for j in range(1, 7)]
  return {
    'config.json': dict(
      architectures=['LlavaOnevisionForConditionalGeneration'],
      model_type=MODEL_TYPE,
      text_config=dict(text),
      vision_config=dict(vision),
      image_token_index=image[1],
      video_token_index=video[1],
      image_grid_pinpoints=canvases,
      vision_aspect_ratio='anyres_max_9',
      vision_feature_layer=-1,
      vision_feature_select_strategy='full',
      projector_hidden_act='gelu',
      tie_word_embeddings=True,
    ),
    'preprocessor_config.json': dict(
      image_processor_type='LlavaOnevisionImageProcessor',
      image_grid_pinpoints=canvases,
      resample=3,
      size=dict(height=side, width=side),
    ),
    'processor_config.json': dict(
      processor_class='LlavaOnevisionProcessor',
      num_image_tokens=(side // vision['patch_size']) ** 2,
      image_token=image[0],
      video_token=video[0],
      vision_feature_select_strategy='full',
    ),
  }

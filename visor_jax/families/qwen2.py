"""What a config.json says of Qwen2, the decoder of several families.

transformers leaves out keys that have their defaults, so the defaults are here.
"""

import pathlib
from typing import Any

from visor_jax.spec import sizes

DEFAULTS: dict[str, Any] = dict(
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
_FIXED = dict(model_type='qwen2', hidden_act='silu', use_sliding_window=False)
# Of a flat config beside those.
_MORE = (
  'head_dim',
  'rope_scaling',
  'max_window_layers',
  'sliding_window',
  'bos_token_id',
  'eos_token_id',
)


def of_flat(flat: dict[str, Any]) -> dict[str, Any]:
  """The text_config of an original, whose config is flat."""
  keys = (*DEFAULTS, *_MORE)
  return {k: flat[k] for k in keys if k in flat} | dict(model_type='qwen2')


def require_fixed(
  fields: dict[str, Any], fixed: dict[str, Any], where: str
) -> None:
  """Keys that are there have the values that the model has.

  Raises:
    ValueError: naming the key; `where` is what stands before it.
  """
  for key, value in fixed.items():
    if fields.get(key, value) != value:
      raise ValueError(
        f'{where}{key} is {fields[key]!r}; the model has {value!r}'
      )


def size(
  text: dict[str, Any], tied: bool, path: pathlib.Path
) -> sizes.Language:
  """The decoder that a text_config asks for.

  Args:
    text: with the defaults.
    tied: the whole config says that the output head is the embedding.
    path: of the config, for errors.

  Raises:
    ValueError: it asks for what the model does not do.
  """
  require_fixed(text, _FIXED, f'{path}: text_config.')
  heads = text['num_attention_heads']
  return sizes.Language(
    width=text['hidden_size'],
    depth=text['num_hidden_layers'],
    heads=heads,
    key_heads=text['num_key_value_heads'] or heads,
    head_width=text.get('head_dim') or text['hidden_size'] // heads,
    mlp=text['intermediate_size'],
    vocabulary=text['vocab_size'],
    tied=bool(tied or text['tie_word_embeddings']),
    rope_theta=_rope_theta(text, path),
    norm_eps=text['rms_norm_eps'],
  )


def with_vocabulary(config: dict[str, Any], words: int) -> dict[str, Any]:
  """The config with as many words as the embedding has.

  Originals have more or fewer; transformers loads no such checkpoint.
  """
  text = DEFAULTS | (config.get('text_config') or {})
  if text['vocab_size'] == words:
    return config
  return config | dict(text_config=text | dict(vocab_size=words))


def _rope_theta(text: dict[str, Any], path: pathlib.Path) -> float:
  rope = text.get('rope_parameters') or text.get('rope_scaling') or {}
  kind = rope.get('rope_type', rope.get('type', 'default'))
  if kind != 'default':
    raise ValueError(
      f'{path}: the rotary positions are of type {kind!r}; the '
      'model has "default"'
    )
  return float(rope.get('rope_theta', text['rope_theta']))

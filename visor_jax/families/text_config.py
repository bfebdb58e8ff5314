"""What a config.json says of the decoder: Qwen2, or one shaped as Llama.

transformers leaves out keys that have their defaults, so the defaults are here.
"""

from typing import Any

from visor_jax.runtime import json_fields
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
_LLAMA: dict[str, Any] = dict(
  hidden_size=4096,
  intermediate_size=11008,
  num_hidden_layers=32,
  num_attention_heads=32,
  vocab_size=32_000,
  max_position_embeddings=2048,
  hidden_act='silu',
  rms_norm_eps=1e-6,
  rope_theta=1e4,
  tie_word_embeddings=False,
)
_DEFAULTS = dict(qwen2=DEFAULTS, llama=_LLAMA)  # by model_type
# What the model does and the config could ask otherwise.
_FIXED = dict(
  hidden_act='silu',
  use_sliding_window=False,
  attention_bias=False,
  mlp_bias=False,
)
_BIASED = dict(qwen2=True, llama=False)  # keys, queries and values
# Of a flat config beside those.
_MORE = (
  'head_dim',
  'rope_scaling',
  'max_window_layers',
  'sliding_window',
  'bos_token_id',
  'eos_token_id',
)

DEPTH = 1000  # layers of a decoder or a tower, at most


def of_flat(flat: json_fields.Fields) -> dict[str, Any]:
  """The text_config of an original, whose config is flat."""
  keys = (*DEFAULTS, *_MORE)
  return {k: flat.values[k] for k in keys if k in flat.values} | dict(
    model_type='qwen2'
  )


def with_defaults(text: json_fields.Fields) -> json_fields.Fields:
  """A text_config with the defaults of its model_type, Qwen2's for others."""
  kind = text.text('model_type', 'qwen2')
  return text.with_defaults(_DEFAULTS.get(kind, DEFAULTS))


def size(text: json_fields.Fields, tied: bool) -> sizes.Language:
  """The decoder that a text_config asks for.

  Args:
    text: with the defaults.
    tied: the whole config says that the output head is the embedding.

  Raises:
    ValueError: it asks for what the model does not do.
  """
  kind = text.text('model_type', 'qwen2')
  if kind not in _BIASED:
    raise text.error('model_type', f'one of {", ".join(_BIASED)}')
  text.require_all(_FIXED)
  heads, width = (
    text.integer('num_attention_heads'),
    text.integer('hidden_size'),
  )
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
    biases=_BIASED[kind],
  )


def context(text: json_fields.Fields) -> int:
  """Tokens that a prompt and its answer may have."""
  return text.integer('max_position_embeddings', most=1 << 31)


def with_vocabulary(config: dict[str, Any], words: int) -> dict[str, Any]:
  """The config with as many words as the embedding has.

  Originals have more or fewer; transformers loads no such checkpoint.
  """
  fields = json_fields.Fields(config.get('text_config') or {}, '')
  text = dict(with_defaults(fields).values)
  if text['vocab_size'] == words:
    return config
  return config | dict(text_config=text | dict(vocab_size=words))


def _rope_theta(text: json_fields.Fields) -> float:
  name = 'rope_parameters' if text.has('rope_parameters') else 'rope_scaling'
  rope = text.fields(name)
  rope.require('rope_type' if rope.has('rope_type') else 'type', 'default')
  return rope.number('rope_theta', text.number('rope_theta', least=1), least=1)

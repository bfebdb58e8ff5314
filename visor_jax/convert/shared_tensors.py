"""Tensors that checkpoints of several families have: decoder and connector.

Axes: D width, E width, F mlp, N heads, K key heads, H head width, C vocabulary,
d width of the features of patches.
"""

from visor_jax.convert import tensors
from visor_jax.spec import sizes

EMBEDDING = 'embed_tokens.weight'  # of a decoder


def connector(name: str, *more: tensors.Row) -> tensors.Group:
  """A connector of two linear layers.

  Args:
    name: what its tensors' names begin with.
    *more: rows beside those.
  """
  # fmt: off
  rows = tensors.rows('connector/', name, (
    ('in',       'linear_1.weight', 'D d', 'd D'),
    ('in_bias',  'linear_1.bias',   'D',   'D'),
    ('out',      'linear_2.weight', 'D E', 'E D'),
    ('out_bias', 'linear_2.bias',   'D',   'D'),
  ))
  # fmt: on
  return tensors.Group([*rows, *more], _lengths, _depth)


def decoder(name: str, head: str) -> tuple[tensors.Group, tensors.Group]:
  """Qwen2, or Llama, which has no biases.

  Args:
    name: what its tensors' names begin with.
    head: name of the output head's.
  """
  # fmt: off
  rows = (
    tensors.Row('llm/embedding', name + EMBEDDING, 'C D', 'C D'),
    *tensors.rows('llm/layers/', name + 'layers.{}.', (
      ('attention_norm/scale', 'input_layernorm.weight',  'D',    'D'),
      ('attention/query',      'self_attn.q_proj.weight', 'NH D', 'D N H'),
      ('attention/key',        'self_attn.k_proj.weight', 'KH D', 'D K H'),
      ('attention/value',      'self_attn.v_proj.weight', 'KH D', 'D K H'),
      ('attention/out',        'self_attn.o_proj.weight', 'D NH', 'N H D'),
    )),
    *tensors.rows('llm/layers/', name + 'layers.{}.', (
      ('mlp_norm/scale', 'post_attention_layernorm.weight', 'D',   'D'),
      ('mlp/gate',       'mlp.gate_proj.weight',            'F D', 'D F'),
      ('mlp/up',         'mlp.up_proj.weight',              'F D', 'D F'),
      ('mlp/down',       'mlp.down_proj.weight',            'D F', 'F D'),
    )),
    tensors.Row('llm/norm/scale', name + 'norm.weight', 'D', 'D'),
    tensors.Row('llm/head', head, 'C D', 'D C'),
  )
  attention = name + 'layers.{}.self_attn.'
  biases = tensors.rows('llm/layers/attention/', attention, (
    ('query_bias', 'q_proj.bias', 'NH', 'N H'),
    ('key_bias',   'k_proj.bias', 'KH', 'K H'),
    ('value_bias', 'v_proj.bias', 'KH', 'K H'),
  ))
  # fmt: on
  return (
    tensors.Group(rows, _lengths, _depth),
    tensors.Group(biases, _lengths, _depth, lambda s: s.language.biases),
  )


def _depth(size: sizes.Size) -> int:
  return size.language.depth


def _lengths(size: sizes.Size) -> dict[str, int]:
  language = size.language
  return dict(
    D=language.width,
    E=language.width,
    F=language.mlp,
    N=language.heads,
    K=language.key_heads,
    H=language.head_width,
    C=language.vocabulary,
    d=size.vision.features,
  )

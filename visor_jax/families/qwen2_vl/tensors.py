"""The tensors of Qwen2-VL and Qwen2.5-VL checkpoints, where they live with us.

Named as on the hub and as transformers writes them; the names that they have
in its memory are read.
"""

from visor_jax.convert import shared_tensors as shared
from visor_jax.convert import tensors
from visor_jax.spec import sizes

_DECODER, _HEAD = 'model.', 'lm_head.weight'

_SPELLINGS = (
  (r'^model\.visual\.', 'visual.'),
  (r'^model\.language_model\.', _DECODER),
)

# Buffers that older versions wrote.
_UNUSED = (r'.*\.inv_freq',)

# Our parameter, their tensor, axes of theirs, axes of ours: d width, f mlp,
# n heads, h head width, t query, key and value, s frames, p, q rows and columns
# of a patch, c colours, m, e features of a tile, D width of the decoder.
# fmt: off
_SHARED = (
  tensors.Row('vision/patch', 'visual.patch_embed.proj.weight', 'd c s p q', 'spqc d'),  # noqa: E501
  *tensors.rows('vision/layers/', 'visual.blocks.{}.', (
    ('attention_norm/scale', 'norm1.weight',     'd',     'd'),
    ('qkv',                  'attn.qkv.weight',  'tnh d', 'd t n h'),
    ('qkv_bias',             'attn.qkv.bias',    'tnh',   't n h'),
    ('out',                  'attn.proj.weight', 'd nh',  'n h d'),
    ('out_bias',             'attn.proj.bias',   'd',     'd'),
    ('mlp_norm/scale',       'norm2.weight',     'd',     'd'),
  )),
  *tensors.rows('connector/', 'visual.merger.', (
    ('norm/scale', 'ln_q.weight',  'd',   'd'),
    ('in',         'mlp.0.weight', 'm e', 'e m'),
    ('in_bias',    'mlp.0.bias',   'm',   'm'),
    ('out',        'mlp.2.weight', 'D m', 'm D'),
    ('out_bias',   'mlp.2.bias',   'D',   'D'),
  )),
)
_FULL = (  # without windows: Qwen2-VL
  *tensors.rows('vision/layers/', 'visual.blocks.{}.', (
    ('attention_norm/bias', 'norm1.bias',     'd',   'd'),
    ('mlp_norm/bias',       'norm2.bias',     'd',   'd'),
    ('up',                  'mlp.fc1.weight', 'f d', 'd f'),
    ('up_bias',             'mlp.fc1.bias',   'f',   'f'),
    ('down',                'mlp.fc2.weight', 'd f', 'f d'),
    ('down_bias',           'mlp.fc2.bias',   'd',   'd'),
  )),
  tensors.Row('connector/norm/bias', 'visual.merger.ln_q.bias', 'd', 'd'),
)
_WINDOWED = tensors.rows('vision/layers/', 'visual.blocks.{}.mlp.', (
  ('gate',      'gate_proj.weight', 'f d', 'd f'),
  ('gate_bias', 'gate_proj.bias',   'f',   'f'),
  ('up',        'up_proj.weight',   'f d', 'd f'),
  ('up_bias',   'up_proj.bias',     'f',   'f'),
  ('down',      'down_proj.weight', 'd f', 'f d'),
  ('down_bias', 'down_proj.bias',   'd',   'd'),
))
# fmt: on


def _lengths(size: sizes.Size) -> dict[str, int]:
  vision = size.vision
  return dict(
    d=vision.width,
    f=vision.mlp,
    n=vision.heads,
    h=vision.width // vision.heads,
    t=3,
    s=2,
    p=vision.patch,
    q=vision.patch,
    c=3,
    m=vision.features,
    e=vision.features,
    D=size.language.width,
  )


def _depth(size: sizes.Size) -> int:
  return size.vision.depth


TABLE = tensors.Table(
  (
    tensors.Group(_SHARED, _lengths, _depth),
    tensors.Group(_FULL, _lengths, _depth, lambda s: not s.vision.window),
    tensors.Group(_WINDOWED, _lengths, _depth, lambda s: s.vision.window > 0),
    *shared.decoder(_DECODER, _HEAD),
  ),
  embedding=_DECODER + shared.EMBEDDING,
  head=_HEAD,
  spellings=_SPELLINGS,
  unused=_UNUSED,
)

"""The tensors of LLaVA-OneVision checkpoints, and where they live with us.

Named as transformers writes them today, the fourth of four spellings; the other
three are read.
"""

from visor_jax.convert import shared_tensors as shared
from visor_jax.convert import tensors
from visor_jax.spec import sizes

_DECODER, _HEAD = 'language_model.model.', 'language_model.lm_head.weight'
_TOWER_LAYER = 'vision_tower.encoder.layers.{}.'

_SPELLINGS = (
  (r'^model\.language_model\.', 'language_model.model.'),
  (r'^model\.mm_projector\.0\.', 'multi_modal_projector.linear_1.'),
  (r'^model\.mm_projector\.2\.', 'multi_modal_projector.linear_2.'),
  (r'^model\.(vision_tower|multi_modal_projector|image_newline)', r'\1'),
  (r'^vision_tower\.(vision_tower\.)?vision_model\.', 'vision_tower.'),
  (r'^model\.', 'language_model.model.'),
  (r'^lm_head\.', 'language_model.lm_head.'),
)

# The vision tower's last norm and head, and buffers that older versions wrote.
_UNUSED = (
  r'vision_tower\.post_layernorm\..*',
  r'vision_tower\.head\..*',
  r'.*\.position_ids',
  r'.*\.inv_freq',
)

# Our parameter, their tensor, axes of theirs, axes of ours: d width, f mlp,
# n heads, h head width, P patches, p, q rows and columns of a patch, c colours.
# fmt: off
_ROWS = (
  *tensors.rows('vision/', 'vision_tower.embeddings.', (
    ('patch',      'patch_embedding.weight',    'd c p q', 'pqc d'),
    ('patch_bias', 'patch_embedding.bias',      'd',       'd'),
    ('position',   'position_embedding.weight', 'P d',     'P d'),
  )),
  *tensors.rows('vision/layers/', _TOWER_LAYER, (
    ('attention_norm/scale', 'layer_norm1.weight',        'd',    'd'),
    ('attention_norm/bias',  'layer_norm1.bias',          'd',    'd'),
    ('query',                'self_attn.q_proj.weight',   'nh d', 'd n h'),
    ('query_bias',           'self_attn.q_proj.bias',     'nh',   'n h'),
    ('key',                  'self_attn.k_proj.weight',   'nh d', 'd n h'),
    ('key_bias',             'self_attn.k_proj.bias',     'nh',   'n h'),
    ('value',                'self_attn.v_proj.weight',   'nh d', 'd n h'),
    ('value_bias',           'self_attn.v_proj.bias',     'nh',   'n h'),
    ('out',                  'self_attn.out_proj.weight', 'd nh', 'n h d'),
    ('out_bias',             'self_attn.out_proj.bias',   'd',    'd'),
    ('mlp_norm/scale',       'layer_norm2.weight',        'd',    'd'),
    ('mlp_norm/bias',        'layer_norm2.bias',          'd',    'd'),
    ('up',                   'mlp.fc1.weight',            'f d',  'd f'),
    ('up_bias',              'mlp.fc1.bias',              'f',    'f'),
    ('down',                 'mlp.fc2.weight',            'd f',  'f d'),
    ('down_bias',            'mlp.fc2.bias',              'd',    'd'),
  )),
)
# fmt: on


def _lengths(size: sizes.Size) -> dict[str, int]:
  vision = size.vision
  return dict(
    d=vision.width,
    f=vision.mlp,
    n=vision.heads,
    h=vision.width // vision.heads,
    P=vision.patches,
    p=vision.patch,
    q=vision.patch,
    c=3,
  )


_NEWLINE = tensors.Row('connector/newline', 'image_newline', 'D', 'D')

TABLE = tensors.Table(
  (
    tensors.Group(_ROWS, _lengths, lambda size: size.vision.depth),
    shared.connector('multi_modal_projector.', _NEWLINE),
    *shared.decoder(_DECODER, _HEAD),
  ),
  embedding=_DECODER + shared.EMBEDDING,
  head=_HEAD,
  spellings=_SPELLINGS,
  unused=_UNUSED,
  tower_layer=_TOWER_LAYER,
)

"""The tensors of LLaVA-OneVision checkpoints, and where they live with us.

Named as transformers writes them today, the fourth of four spellings; the other
three are read.
"""

from visor_jax.convert import tensors

_EMBEDDING = 'language_model.model.embed_tokens.weight'
_HEAD = 'language_model.lm_head.weight'
_LAYER = 'language_model.model.layers.{}.'
_TOWER_LAYER = 'vision_tower.encoder.layers.{}.'

_SPELLINGS = (
  (
    'vision_tower.',
    'model.vision_tower.',
    'vision_tower.vision_model.',
    'model.vision_tower.vision_tower.vision_model.',
  ),
  ('multi_modal_projector.', 'model.multi_modal_projector.'),
  ('multi_modal_projector.linear_1.', 'model.mm_projector.0.'),
  ('multi_modal_projector.linear_2.', 'model.mm_projector.2.'),
  ('image_newline', 'model.image_newline'),
  ('language_model.model.', 'model.language_model.', 'model.'),
  ('language_model.lm_head.', 'lm_head.'),
)

# The vision tower's last norm and head, and buffers that older versions wrote.
_UNUSED = (
  r'vision_tower\.post_layernorm\..*',
  r'vision_tower\.head\..*',
  r'.*\.position_ids',
  r'.*\.inv_freq',
)

# Our parameter, their tensor, axes of theirs, axes of ours.
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
  *tensors.rows('connector/', 'multi_modal_projector.', (
    ('in',       'linear_1.weight', 'D d', 'd D'),
    ('in_bias',  'linear_1.bias',   'D',   'D'),
    ('out',      'linear_2.weight', 'D E', 'E D'),
    ('out_bias', 'linear_2.bias',   'D',   'D'),
  )),
  tensors.Row('connector/newline', 'image_newline', 'D', 'D'),
  tensors.Row('llm/embedding', _EMBEDDING, 'C D', 'C D'),
  *tensors.rows('llm/layers/', _LAYER, (
    ('attention_norm/scale', 'input_layernorm.weight',  'D',    'D'),
    ('attention/query',      'self_attn.q_proj.weight', 'NH D', 'D N H'),
    ('attention/query_bias', 'self_attn.q_proj.bias',   'NH',   'N H'),
    ('attention/key',        'self_attn.k_proj.weight', 'KH D', 'D K H'),
    ('attention/key_bias',   'self_attn.k_proj.bias',   'KH',   'K H'),
    ('attention/value',      'self_attn.v_proj.weight', 'KH D', 'D K H'),
    ('attention/value_bias', 'self_attn.v_proj.bias',   'KH',   'K H'),
    ('attention/out',        'self_attn.o_proj.weight', 'D NH', 'N H D'),
  )),
  *tensors.rows('llm/layers/', _LAYER, (
    ('mlp_norm/scale', 'post_attention_layernorm.weight', 'D',   'D'),
    ('mlp/gate',       'mlp.gate_proj.weight',            'F D', 'D F'),
    ('mlp/up',         'mlp.up_proj.weight',              'F D', 'D F'),
    ('mlp/down',       'mlp.down_proj.weight',            'D F', 'F D'),
  )),
  tensors.Row('llm/norm/scale', 'language_model.model.norm.weight', 'D', 'D'),
  tensors.Row('llm/head', _HEAD, 'C D', 'D C'),
)
# fmt: on

TABLE = tensors.Table(
  _ROWS,
  embedding=_EMBEDDING,
  head=_HEAD,
  tower_layer=_TOWER_LAYER,
  spellings=_SPELLINGS,
  unused=_UNUSED,
)

"""The tensors of FastVLM checkpoints, and where they live with us.

Named as transformers writes them; the names of Apple's checkpoints are read.
"""

from collections.abc import Callable
from collections.abc import Iterator

from visor_jax.convert import shared_tensors as shared
from visor_jax.convert import tensors
from visor_jax.families.fastvlm import tower
from visor_jax.spec import sizes

_TOWER = 'model.vision_tower.timm_model.'
_DECODER, _HEAD = 'model.language_model.', 'lm_head.weight'
_STAGES = 5

# What Apple numbers through.
_NETWORK = (
  'stages.0.blocks',
  'stages.1.downsample',
  'stages.1.blocks',
  'stages.2.downsample',
  'stages.2.blocks',
  'stages.3.downsample',
  'stages.3.pos_emb',
  'stages.3.blocks',
  'stages.4.downsample',
  'stages.4.pos_emb',
  'stages.4.blocks',
)
_SPELLINGS = (
  (r'^model\.vision_tower\.vision_tower\.model\.', _TOWER),
  (r'\.patch_embed\.', '.stem.'),
  *(
    (rf'\.network\.{number}\.', f'.{name}.')
    for number, name in enumerate(_NETWORK)
  ),
  (r'\.lkb_reparam\.', '.reparam_conv.'),
  (r'\.convffn\.', '.mlp.'),
  (r'\.(layer_scale(_[12])?)$', r'.\1.gamma'),
  (r'\.conv_exp\.', '.final_conv.'),
  (r'\.se\.reduce\.', '.se.fc1.'),
  (r'\.se\.expand\.', '.se.fc2.'),
  (r'^model\.mm_projector\.0\.', 'model.multi_modal_projector.linear_1.'),
  (r'^model\.mm_projector\.2\.', 'model.multi_modal_projector.linear_2.'),
  (r'^model\.(layers|embed_tokens|norm)\.', rf'{_DECODER}\1.'),
)

# How often statistics were updated, and a head for contrastive training.
_UNUSED = (
  r'model\.vision_tower\..*\.num_batches_tracked',
  r'model\.vision_tower\.timm_model\.head\..*',
)

# Our parameter, their tensor, axes of theirs, axes of ours: d, g width of a
# stage, f of its MLP, w of the features, s squeezed, t query, key and value,
# n heads, h head width, i, j of small kernels, p, q of large ones, c colours,
# u and v 1.
# fmt: off
_STEM = tensors.rows('vision/', _TOWER + 'stem.', (
  ('stem_0/kernel', '0.reparam_conv.weight', 'd c i j', 'i j c d'),
  ('stem_0/bias',   '0.reparam_conv.bias',   'd',       'd'),
  ('stem_1/kernel', '1.reparam_conv.weight', 'd u i j', 'i j u d'),
  ('stem_1/bias',   '1.reparam_conv.bias',   'd',       'd'),
  ('stem_2/kernel', '2.reparam_conv.weight', 'd g u v', 'g duv'),
  ('stem_2/bias',   '2.reparam_conv.bias',   'd',       'd'),
))
_FEATURES = tensors.rows('vision/', _TOWER + 'final_conv.', (
  ('head/kernel',    'reparam_conv.weight', 'w u i j', 'i j u w'),
  ('head/bias',      'reparam_conv.bias',   'w',       'w'),
  ('squeeze/kernel', 'se.fc1.weight',       's w u v', 'w suv'),
  ('squeeze/bias',   'se.fc1.bias',         's',       's'),
  ('excite/kernel',  'se.fc2.weight',       'w s u v', 's wuv'),
  ('excite/bias',    'se.fc2.bias',         'w',       'w'),
))
_DOWN = (
  ('down_0/kernel', 'downsample.proj.0.reparam_conv.weight', 'd u p q', 'p q u d'),  # noqa: E501
  ('down_0/bias',   'downsample.proj.0.reparam_conv.bias',   'd',       'd'),
  ('down_1/kernel', 'downsample.proj.1.reparam_conv.weight', 'd g u v', 'g duv'),  # noqa: E501
  ('down_1/bias',   'downsample.proj.1.reparam_conv.bias',   'd',       'd'),
)
_POSITION = (
  ('position/kernel', 'pos_emb.reparam_conv.weight', 'd u p q', 'p q u d'),
  ('position/bias',   'pos_emb.reparam_conv.bias',   'd',       'd'),
)
_MLP = (
  ('mlp/mix/kernel',        'mlp.conv.conv.weight',     'd u p q', 'p q u d'),
  ('mlp/norm/scale',        'mlp.conv.bn.weight',       'd',       'd'),
  ('mlp/norm/bias',         'mlp.conv.bn.bias',         'd',       'd'),
  ('mlp/norm/running_mean', 'mlp.conv.bn.running_mean', 'd',       'd'),
  ('mlp/norm/running_var',  'mlp.conv.bn.running_var',  'd',       'd'),
  ('mlp/up/kernel',         'mlp.fc1.weight',           'f d u v', 'd fuv'),
  ('mlp/up/bias',           'mlp.fc1.bias',             'f',       'f'),
  ('mlp/down/kernel',       'mlp.fc2.weight',           'd f u v', 'f duv'),
  ('mlp/down/bias',         'mlp.fc2.bias',             'd',       'd'),
)
_CONVOLUTION = (
  ('mix/kernel', 'token_mixer.reparam_conv.weight', 'd u i j', 'i j u d'),
  ('mix/bias',   'token_mixer.reparam_conv.bias',   'd',       'd'),
  *_MLP,
  ('mlp_scale',  'layer_scale.gamma',               'd u v',   'duv'),
)
_ATTENTION = (
  ('norm/scale',      'norm.weight',             'd',     'd'),
  ('norm/bias',       'norm.bias',               'd',     'd'),
  ('qkv',             'token_mixer.qkv.weight',  'tnh d', 'd t n h'),
  ('out/kernel',      'token_mixer.proj.weight', 'd g',   'g d'),
  ('out/bias',        'token_mixer.proj.bias',   'd',     'd'),
  ('attention_scale', 'layer_scale_1.gamma',     'd u v', 'duv'),
  *_MLP,
  ('mlp_scale',       'layer_scale_2.gamma',     'd u v', 'duv'),
)
# fmt: on


def _group(rows: list[tensors.Row], stage: int) -> tensors.Group:
  return tensors.Group(
    rows, _lengths(stage), lambda size: size.vision.stages[stage]
  )


def _lengths(stage: int) -> Callable[[sizes.Size], dict[str, int]]:
  """The length of every axis of a stage."""

  def lengths(size: sizes.Size) -> dict[str, int]:
    vision = size.vision
    narrower = _STAGES - 1 - stage
    width, heads = vision.width >> narrower, vision.heads >> narrower
    return dict(
      d=width,
      g=width,
      f=tower.MLP * width,
      w=vision.features,
      s=vision.features // tower.SQUEEZE,
      t=3,
      n=heads,
      h=width // max(heads, 1),
      i=tower.SMALL,
      j=tower.SMALL,
      p=tower.LARGE,
      q=tower.LARGE,
      c=3,
      u=1,
      v=1,
    )

  return lengths


def _stages() -> Iterator[tensors.Group]:
  for stage in range(_STAGES):
    attends = _STAGES - stage <= tower.ATTENTION
    path, name = f'vision/stage_{stage}/', f'{_TOWER}stages.{stage}.'
    before = (_DOWN if stage else ()) + (_POSITION if attends else ())
    layer = _ATTENTION if attends else _CONVOLUTION
    rows = tensors.rows(path, name, before)
    rows += tensors.rows(path + 'layers/', name + 'blocks.{}.', layer)
    yield _group(rows, stage)


TABLE = tensors.Table(
  (
    _group(_STEM, 0),
    *_stages(),
    _group(_FEATURES, _STAGES - 1),
    shared.connector('model.multi_modal_projector.'),
    *shared.decoder(_DECODER, _HEAD),
  ),
  embedding=_DECODER + shared.EMBEDDING,
  head=_HEAD,
  spellings=_SPELLINGS,
  unused=_UNUSED,
)

"""Their tensors and our parameters: one table, read in both directions.

Theirs are named as transformers writes them today, the fourth of four
spellings; the other three are read. Axes are single letters, a word of several
is one axis that holds them all, the first the slowest:

  language  D width, E width, F mlp, N heads, K key heads, H head width,
            C vocabulary
  vision    d width, f mlp, n heads, h head width, P patches, p and q rows and
            columns of a patch, c colours
"""

import dataclasses
import math
import re

import numpy as np

from visor_jax.spec import sizes

# What begins a name in each of the spellings, the written one first; the
# longest that fits a name counts.
SPELLINGS = (
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

EMBEDDING = 'language_model.model.embed_tokens.weight'
HEAD = 'language_model.lm_head.weight'
_VISION = 'vision_tower.encoder.layers.{}.'
_LAYER = 'language_model.model.layers.{}.'

# ours, theirs, axes of theirs, axes of ours; {} is the number of a layer, and
# our layers are stacked on a further first axis.
TABLE = (
  (
    'vision/patch',
    'vision_tower.embeddings.patch_embedding.weight',
    'd c p q',
    'pqc d',
  ),
  (
    'vision/patch_bias',
    'vision_tower.embeddings.patch_embedding.bias',
    'd',
    'd',
  ),
  (
    'vision/position',
    'vision_tower.embeddings.position_embedding.weight',
    'P d',
    'P d',
  ),
  (
    'vision/layers/attention_norm/scale',
    _VISION + 'layer_norm1.weight',
    'd',
    'd',
  ),
  ('vision/layers/attention_norm/bias', _VISION + 'layer_norm1.bias', 'd', 'd'),
  ('vision/layers/query', _VISION + 'self_attn.q_proj.weight', 'nh d', 'd n h'),
  ('vision/layers/query_bias', _VISION + 'self_attn.q_proj.bias', 'nh', 'n h'),
  ('vision/layers/key', _VISION + 'self_attn.k_proj.weight', 'nh d', 'd n h'),
  ('vision/layers/key_bias', _VISION + 'self_attn.k_proj.bias', 'nh', 'n h'),
  ('vision/layers/value', _VISION + 'self_attn.v_proj.weight', 'nh d', 'd n h'),
  ('vision/layers/value_bias', _VISION + 'self_attn.v_proj.bias', 'nh', 'n h'),
  ('vision/layers/out', _VISION + 'self_attn.out_proj.weight', 'd nh', 'n h d'),
  ('vision/layers/out_bias', _VISION + 'self_attn.out_proj.bias', 'd', 'd'),
  ('vision/layers/mlp_norm/scale', _VISION + 'layer_norm2.weight', 'd', 'd'),
  ('vision/layers/mlp_norm/bias', _VISION + 'layer_norm2.bias', 'd', 'd'),
  ('vision/layers/up', _VISION + 'mlp.fc1.weight', 'f d', 'd f'),
  ('vision/layers/up_bias', _VISION + 'mlp.fc1.bias', 'f', 'f'),
  ('vision/layers/down', _VISION + 'mlp.fc2.weight', 'd f', 'f d'),
  ('vision/layers/down_bias', _VISION + 'mlp.fc2.bias', 'd', 'd'),
  ('connector/in', 'multi_modal_projector.linear_1.weight', 'D d', 'd D'),
  ('connector/in_bias', 'multi_modal_projector.linear_1.bias', 'D', 'D'),
  ('connector/out', 'multi_modal_projector.linear_2.weight', 'D E', 'E D'),
  ('connector/out_bias', 'multi_modal_projector.linear_2.bias', 'D', 'D'),
  ('connector/newline', 'image_newline', 'D', 'D'),
  ('llm/embedding', EMBEDDING, 'C D', 'C D'),
  (
    'llm/layers/attention_norm/scale',
    _LAYER + 'input_layernorm.weight',
    'D',
    'D',
  ),
  (
    'llm/layers/attention/query',
    _LAYER + 'self_attn.q_proj.weight',
    'NH D',
    'D N H',
  ),
  (
    'llm/layers/attention/query_bias',
    _LAYER + 'self_attn.q_proj.bias',
    'NH',
    'N H',
  ),
  (
    'llm/layers/attention/key',
    _LAYER + 'self_attn.k_proj.weight',
    'KH D',
    'D K H',
  ),
  (
    'llm/layers/attention/key_bias',
    _LAYER + 'self_attn.k_proj.bias',
    'KH',
    'K H',
  ),
  (
    'llm/layers/attention/value',
    _LAYER + 'self_attn.v_proj.weight',
    'KH D',
    'D K H',
  ),
  (
    'llm/layers/attention/value_bias',
    _LAYER + 'self_attn.v_proj.bias',
    'KH',
    'K H',
  ),
  (
    'llm/layers/attention/out',
    _LAYER + 'self_attn.o_proj.weight',
    'D NH',
    'N H D',
  ),
  (
    'llm/layers/mlp_norm/scale',
    _LAYER + 'post_attention_layernorm.weight',
    'D',
    'D',
  ),
  ('llm/layers/mlp/gate', _LAYER + 'mlp.gate_proj.weight', 'F D', 'D F'),
  ('llm/layers/mlp/up', _LAYER + 'mlp.up_proj.weight', 'F D', 'D F'),
  ('llm/layers/mlp/down', _LAYER + 'mlp.down_proj.weight', 'D F', 'F D'),
  ('llm/norm/scale', 'language_model.model.norm.weight', 'D', 'D'),
  ('llm/head', HEAD, 'C D', 'D C'),
)

# Tensors that no computation of ours reads; they are kept for the way back.
UNUSED = (
  r'vision_tower\.post_layernorm\..*',
  r'vision_tower\.head\..*',
  r'.*\.position_ids',
  r'.*\.inv_freq',
)


@dataclasses.dataclass(frozen=True)
class Home:
  """Where one of their tensors lives with us.

  Attributes:
    path: of our parameter.
    layer: its place in the stack, None where there is no stack.
    theirs: axes of their tensor.
    ours: axes of our parameter, without the stack.
    length: of every axis.
  """

  path: str
  layer: int | None
  theirs: str
  ours: str
  length: dict[str, int]

  @property
  def shape(self) -> tuple[int, ...]:
    """Of their tensor."""
    return self._shape(self.theirs)

  @property
  def own_shape(self) -> tuple[int, ...]:
    """Of our parameter, one layer of it."""
    return self._shape(self.ours)

  def to_ours(self, array: np.ndarray) -> np.ndarray:
    """Their tensor as one layer of our parameter; a view where it can be."""
    return self._turn(array, self.theirs, self.ours)

  def to_theirs(self, array: np.ndarray) -> np.ndarray:
    """The inverse of `to_ours`."""
    return self._turn(array, self.ours, self.theirs)

  def _shape(self, axes):
    return tuple(
      math.prod(self.length[a] for a in word) for word in axes.split()
    )

  def _turn(self, array, before, after):
    single = before.replace(' ', '')
    array = array.reshape([self.length[a] for a in single])
    array = array.transpose([single.index(a) for a in after.replace(' ', '')])
    return array.reshape(self._shape(after))


def homes(size: sizes.Size) -> dict[str, Home]:
  """{their name: Home} of every tensor that a model of this size has."""
  vision, language = size.vision, size.language
  length = dict(
    D=language.width,
    E=language.width,
    F=language.mlp,
    N=language.heads,
    K=language.key_heads,
    H=language.head_width,
    C=language.vocabulary,
    d=vision.width,
    f=vision.mlp,
    n=vision.heads,
    h=vision.width // vision.heads,
    P=vision.patches,
    p=vision.patch,
    q=vision.patch,
    c=3,
  )
  found = {}
  for path, name, theirs, ours in TABLE:
    if name == HEAD and language.tied:
      continue
    depth = vision.depth if path.startswith('vision') else language.depth
    for i in range(depth) if '{}' in name else (None,):
      found[name.format(i)] = Home(path, i, theirs, ours, length)
  return found


def stacked(path: str) -> bool:
  """Are layers stacked on the first axis of a parameter of this path?"""
  return path.startswith(('vision/layers/', 'llm/layers/', 'llm/cross/'))


def shapes(size: sizes.Size) -> dict[str, tuple[int, ...]]:
  """{path: shape} of the base's parameters."""
  found = {}
  for home in homes(size).values():  # the last layer comes last
    depth = () if home.layer is None else (home.layer + 1,)
    found[home.path] = depth + home.own_shape
  return found


def written(name: str) -> str:
  """A name in any spelling as it is written today."""
  fits = [
    (len(old), old, row[0])
    for row in SPELLINGS
    for old in row
    if name.startswith(old)
  ]
  if not fits:
    return name
  _, old, new = max(fits)
  return new + name[len(old) :]


def unused(name: str, size: sizes.Size, vision_layers: int) -> bool:
  """Is a tensor, named as written today, one that we only keep?

  Args:
    name: of the tensor.
    size: whose vision tower may stop before the last layer of the checkpoint.
    vision_layers: how many of them the checkpoint has.
  """
  past = [
    rf'vision_tower\.encoder\.layers\.{i}\..*'
    for i in range(size.vision.depth, vision_layers)
  ]
  return any(re.fullmatch(p, name) for p in (*UNUSED, *past))

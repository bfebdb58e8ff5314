"""DINOv2 ViT-S/14 in an ONNX file, as the SigLIP tower that computes the same.

SigLIP has neither LayerScale, which is folded into the weights before it, nor a
CLS token, which goes; its GELU is the tanh approximation. Needs the library
onnx, see `folder.py`.
"""

from collections.abc import Mapping
import pathlib
import re
from typing import Any

import jax
import numpy as np

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
CONFIG: dict[str, Any] = dict(
  model_type='siglip_vision_model',
  hidden_size=384,
  intermediate_size=1536,
  num_hidden_layers=12,
  num_attention_heads=6,
  image_size=224,
  patch_size=14,
  layer_norm_eps=1e-6,
)

_LAYER = {
  'norm1': 'layer_norm1',
  'attention.attention.query': 'self_attn.q_proj',
  'attention.attention.key': 'self_attn.k_proj',
  'attention.attention.value': 'self_attn.v_proj',
  'attention.output.dense': 'self_attn.out_proj',
  'norm2': 'layer_norm2',
  'mlp.fc1': 'mlp.fc1',
  'mlp.fc2': 'mlp.fc2',
}
# What LayerScale multiplies.
_SCALES = {
  'attention.output.dense': 'layer_scale1.lambda1',
  'mlp.fc2': 'layer_scale2.lambda1',
}
_PATCH = 'embeddings.patch_embeddings.projection'
POSITION = 'embeddings.position_embeddings'  # of patches, without CLS


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
  """The tensors of a file, named as transformers 4 does Dinov2Model's.

  Exporters rename what they transpose: the weights of a product are found by
  the node that takes them.
  """
  import onnx  # an extra, as few need it
  from onnx import numpy_helper

  graph = onnx.load(path).graph
  values = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
  prefix = 'backbone.'
  tensors = {
    name.removeprefix(prefix): value
    for name, value in values.items()
    if name.startswith(prefix)
  }
  for node in graph.node:
    name = node.name.strip('/').replace('/', '.').removeprefix(prefix)
    known = [values[i] for i in node.input if i in values]
    if node.op_type == 'MatMul' and known:
      tensors[name.removesuffix('.MatMul') + '.weight'] = known[0].T
    if name.startswith('embeddings.Reshape') and known:
      tensors[POSITION] = known[0]
  return tensors


def as_siglip(
  tensors: Mapping[str, np.ndarray], side: int
) -> dict[str, np.ndarray]:
  """The tensors of a SigLIP tower.

  Args:
    tensors: named as transformers 4 does Dinov2Model's.
    side: patches along an image.
  """
  tower = {
    'embeddings.patch_embedding.weight': tensors[f'{_PATCH}.weight'],
    'embeddings.patch_embedding.bias': tensors[f'{_PATCH}.bias'],
    'embeddings.position_embedding.weight': _resized(tensors[POSITION], side),
  }
  layers = {
    int(match[1])
    for name in tensors
    if (match := re.match(r'encoder\.layer\.(\d+)\.', name))
  }
  for number in sorted(layers):
    there, here = f'encoder.layer.{number}.', f'encoder.layers.{number}.'
    for name, part in _LAYER.items():
      scale = tensors[there + _SCALES[name]] if name in _SCALES else 1.0
      weight, bias = (tensors[f'{there}{name}.{x}'] for x in ('weight', 'bias'))
      tower[f'{here}{part}.weight'] = (weight.T * scale).T
      tower[f'{here}{part}.bias'] = bias * scale
  return tower


def _resized(position: np.ndarray, side: int) -> np.ndarray:
  """Positions of another number of patches, [side * side, D]."""
  width = position.shape[-1]
  before = round((position.size / width) ** 0.5)
  grid = position.reshape(before, before, width)
  shape = (side, side, width)
  resized = jax.image.resize(grid, shape, 'cubic', antialias=False)
  return np.asarray(resized).reshape(-1, width)

"""VISOR's own weights in a Hugging Face folder.

They travel in a file of their own, which transformers does not look at, as
`visor.cross.{layer}.{name}` and `visor.router.{name}`; axes are ours.
"""

from collections.abc import Sequence

import numpy as np

from visor_jax.convert import safetensors

FILE = 'visor.safetensors'
_CROSS, _ROUTER = 'llm/cross/', 'router/'


def to_tensors(params, crosses: Sequence[int]) -> dict[str, safetensors.Tensor]:
  """A tensor for every layer of every parameter.

  Args:
    params: flat; those of the base are left out.
    crosses: indices of the CROSS layers.
  """
  found = {}
  for path, leaf in params.items():
    name = path.replace('/', '.').removeprefix('llm.')
    dtype = np.dtype(leaf.dtype)
    if path.startswith(_ROUTER):
      found[f'visor.{name}'] = safetensors.Tensor(
        leaf.shape, dtype, lambda leaf=leaf: np.asarray(leaf)
      )
    elif path.startswith(_CROSS):
      name = name.removeprefix('cross.')
      for i, layer in enumerate(crosses):
        found[f'visor.cross.{layer}.{name}'] = safetensors.Tensor(
          leaf.shape[1:], dtype, lambda leaf=leaf, i=i: np.asarray(leaf[i])
        )
  return found


def to_parts(tensors, crosses: Sequence[int]) -> dict[str, list]:
  """The tensors of every parameter, one for each layer.

  Args:
    tensors: {name: Tensor}, of the file.
    crosses: indices of the CROSS layers.

  Raises:
    ValueError: a parameter's layers are not the CROSS layers.
  """
  found = {}
  for name in sorted(tensors):
    _, room, *rest = name.split('.')
    layer = int(rest.pop(0)) if room == 'cross' else None
    path = (_ROUTER if room == 'router' else _CROSS) + '/'.join(rest)
    found.setdefault(path, {})[layer] = tensors[name]
  for path, layers in found.items():
    if path.startswith(_CROSS) and set(layers) != set(crosses):
      raise ValueError(
        f'{FILE} has {path} of layers {sorted(layers)}; CROSS '
        f'layers are {list(crosses)}'
      )
  return {
    path: [layers[i] for i in sorted(layers)] for path, layers in found.items()
  }

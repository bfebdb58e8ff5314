"""VISOR's own weights in a Hugging Face folder.

They are `visor.cross.{layer}.{name}` and `visor.router.{name}`; axes are ours.
Beside a base for transformers they travel in a file of their own, at which it
does not look; in a folder that runs VISOR they are among the base's.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
import re

import jax
import numpy as np

from visor_jax.convert import safetensors

FILE = 'visor.safetensors'
_CROSS, _ROUTER = 'llm/cross/', 'router/'
_PREFIX = 'visor.'
_NAME = re.compile(r'visor\.(?:cross\.(\d{1,6})\.(.+)|router\.(.+))')


def read(
  folder: pathlib.Path,
) -> tuple[dict[str, safetensors.Tensor], dict[str, safetensors.Tensor]]:
  """The tensors of a folder by name: the base's, and VISOR's own.

  Raises:
    ValueError: as safetensors.folder does, or VISOR's are there twice.
  """
  tensors = safetensors.folder(folder)
  ours = {n: t for n, t in tensors.items() if n.startswith(_PREFIX)}
  if (folder / FILE).exists():
    if ours:
      raise ValueError(
        f'{folder} has {FILE}, and {min(ours)} among the tensors of the base '
        'too; VISOR has one set of weights'
      )
    ours = safetensors.file(folder / FILE)
  return {n: t for n, t in tensors.items() if n not in ours}, ours


def to_tensors(
  params: Mapping[str, jax.Array], crosses: Sequence[int]
) -> dict[str, safetensors.Tensor]:
  """A tensor for every layer of every parameter, by its name.

  Args:
    params: arrays by path; those of the base are left out.
    crosses: indices of the CROSS layers.
  """
  tensors: dict[str, safetensors.Tensor] = {}
  for path, param in params.items():
    name = path.replace('/', '.')
    if path.startswith(_ROUTER):
      tensors[f'visor.{name}'] = _tensor(param)
    elif path.startswith(_CROSS):
      name = name.removeprefix('llm.cross.')
      for index, layer in enumerate(crosses):
        tensors[f'visor.cross.{layer}.{name}'] = _layer(param, index)
  return tensors


def to_parts(
  tensors: Mapping[str, safetensors.Tensor], crosses: Sequence[int]
) -> dict[str, list[safetensors.Tensor]]:
  """The tensors of every parameter, one for each layer, by its path.

  Args:
    tensors: those of the file, by name.
    crosses: indices of the CROSS layers.

  Raises:
    ValueError: a name is no parameter's, or a parameter's layers are not the
      CROSS layers.
  """
  layers: dict[str, dict[int, safetensors.Tensor]] = {}
  for name in sorted(tensors):
    match = _NAME.fullmatch(name)
    if not match:
      raise ValueError(
        f'{FILE} has {name}; expected visor.cross.LAYER.NAME, visor.router.NAME'
      )
    layer, of_cross, of_router = match.groups()
    path = _CROSS + of_cross if layer else _ROUTER + of_router
    layers.setdefault(path.replace('.', '/'), {})[int(layer or 0)] = tensors[
      name
    ]
  for path, by_layer in layers.items():
    if path.startswith(_CROSS) and set(by_layer) != set(crosses):
      raise ValueError(
        f'{FILE} has {path} of layers {sorted(by_layer)}; CROSS '
        f'layers are {list(crosses)}'
      )
  return {
    path: [by_layer[layer] for layer in sorted(by_layer)]
    for path, by_layer in layers.items()
  }


def _tensor(param: jax.Array) -> safetensors.Tensor:
  return safetensors.Tensor(
    param.shape, np.dtype(param.dtype), lambda: np.asarray(param)
  )


def _layer(param: jax.Array, index: int) -> safetensors.Tensor:
  return safetensors.Tensor(
    param.shape[1:], np.dtype(param.dtype), lambda: np.asarray(param[index])
  )

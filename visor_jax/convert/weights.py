"""From their tensors to our parameters and back, one at a time."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from visor_jax.convert import safetensors
from visor_jax.convert import tensors as tensors_lib
from visor_jax.spec import sizes

Tensors = Mapping[str, safetensors.Tensor]  # by name


def rename(
  table: tensors_lib.Table, tensors: Tensors, folder: pathlib.Path
) -> dict[str, safetensors.Tensor]:
  """Tensors in any spelling by their names as they are written.

  Args:
    table: of their family.
    tensors: by the names that they have.
    folder: where they lie, for errors.

  Raises:
    ValueError: two are the same.
  """
  renamed: dict[str, safetensors.Tensor] = {}
  for name, tensor in tensors.items():
    written = table.written(name)
    if written in renamed:
      raise ValueError(f'{folder} has {written} twice, once as {name}')
    renamed[written] = tensor
  return renamed


def settle(
  table: tensors_lib.Table, size: sizes.Size, tensors: Tensors
) -> sizes.Size:
  """The size with what the tensors know better than the config.

  The vocabulary is the rows of the embedding. A head that is written although
  it is tied may be a copy of the embedding; if it differs, it is a head of its
  own after all, as for transformers.
  """
  embedding, head = tensors.get(table.embedding), tensors.get(table.head)
  if embedding is None or len(embedding.shape) != 2:
    return size  # `match` says it
  tied = size.language.tied and (head is None or _are_equal(head, embedding))
  language = dataclasses.replace(
    size.language, vocabulary=embedding.shape[0], tied=tied
  )
  return dataclasses.replace(size, language=language)


def match(
  table: tensors_lib.Table,
  size: sizes.Size,
  tensors: Tensors,
  folder: pathlib.Path,
) -> None:
  """Every parameter has its tensor, every tensor its parameter.

  Args:
    table: of the family.
    size: of the model.
    tensors: without those that are only kept.
    folder: where they lie, for errors.

  Raises:
    ValueError: naming all that have no counterpart, or another shape.
  """
  needed, homes = table.homes(size), _homes(table, size)
  known = [name for name in tensors if name in homes]
  problems = {
    'parameters without a tensor': [n for n in needed if n not in tensors],
    'tensors without a parameter': [n for n in tensors if n not in homes],
    'tensors of another shape': [
      f'{name} {tensors[name].shape}, not {homes[name].tensor_shape}'
      for name in known
      if tensors[name].shape != homes[name].tensor_shape
    ],
  }
  messages = [
    f'{what}: {_first(names)}' for what, names in problems.items() if names
  ]
  if messages:
    raise ValueError(
      f'{folder} is not what its config.json says; ' + '; '.join(messages)
    )


def parts(
  table: tensors_lib.Table, size: sizes.Size, tensors: Tensors
) -> dict[str, list[safetensors.Tensor]]:
  """For every parameter its tensors, one for each layer, with our axes."""
  parts: dict[str, list[safetensors.Tensor]] = {}
  for name, home in table.homes(size).items():
    parts.setdefault(home.path, []).append(_as_ours(home, tensors[name]))
  return parts


def stack(
  path: str,
  layers: Sequence[safetensors.Tensor],
  dtype: npt.DTypeLike | None = None,
) -> np.ndarray:
  """Reads a parameter.

  Args:
    path: of the parameter.
    layers: a tensor for each.
    dtype: of the array; None for the layers' own, the widest if they differ.
  """
  dtype = dtype or shape(path, layers).dtype
  if not tensors_lib.is_stacked(path):
    return np.asarray(layers[0].read(), dtype, order='C')
  array = np.empty((len(layers), *layers[0].shape), dtype)
  for number, layer in enumerate(layers):
    array[number] = layer.read()
  return array


def shape(
  path: str, layers: Sequence[safetensors.Tensor]
) -> jax.ShapeDtypeStruct:
  """Shape and dtype of a parameter; arguments as of `stack`."""
  dtype = functools.reduce(jnp.promote_types, [layer.dtype for layer in layers])
  depth = (len(layers),) if tensors_lib.is_stacked(path) else ()
  return jax.ShapeDtypeStruct(depth + layers[0].shape, dtype)


def tensors(
  table: tensors_lib.Table,
  size: sizes.Size,
  params: Mapping[str, Any],
  dtypes: Mapping[str, str],
) -> dict[str, safetensors.Tensor]:
  """The base's parameters as their tensors.

  Args:
    table: of the family.
    size: of the model.
    params: arrays by path; there may be others beside the base's.
    dtypes: {name: dtype} of the tensors to make.

  Raises:
    ValueError: a parameter is missing or of another shape.
  """
  actual = {path: np.shape(params.get(path, ())) for path in table.shapes(size)}
  wrong = [
    f'{path} {actual[path]}, not {shape}'
    for path, shape in table.shapes(size).items()
    if actual[path] != shape
  ]
  if wrong:
    raise ValueError(f'parameters do not fit {size}: {_first(wrong)}')
  homes = _homes(table, size)
  return {
    name: _as_theirs(homes[name], params, np.dtype(safetensors.DTYPES[dtype]))
    for name, dtype in dtypes.items()
  }


def _homes(
  table: tensors_lib.Table, size: sizes.Size
) -> dict[str, tensors_lib.Home]:
  """Those of the table, and that of a head that is a copy of the embedding."""
  homes = table.homes(size)
  return {table.head: homes[table.embedding]} | homes


def _are_equal(a: safetensors.Tensor, b: safetensors.Tensor) -> bool:
  return a.dtype == b.dtype and np.array_equal(a.read(), b.read())


def _first(names: Sequence[str], most: int = 20) -> str:
  """The first of many names."""
  rest = len(names) - most
  return ', '.join(names[:most]) + (f' and {rest} more' if rest > 0 else '')


def _as_ours(
  home: tensors_lib.Home, tensor: safetensors.Tensor
) -> safetensors.Tensor:
  return safetensors.Tensor(
    home.layer_shape, tensor.dtype, lambda: home.to_ours(tensor.read())
  )


def _as_theirs(
  home: tensors_lib.Home, params: Mapping[str, Any], dtype: np.dtype
) -> safetensors.Tensor:
  def read() -> np.ndarray:
    param = params[home.path]
    layer = np.asarray(param if home.layer is None else param[home.layer])
    return home.to_theirs(layer.astype(dtype, copy=False))

  return safetensors.Tensor(home.tensor_shape, dtype, read)

"""From their tensors to our parameters and back, one at a time."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

from visor_jax.convert import names
from visor_jax.convert import safetensors
from visor_jax.spec import sizes


def rename(tensors, where) -> dict[str, safetensors.Tensor]:
  """Tensors in any spelling by their names as written today.

  Raises:
    ValueError: two are the same.
  """
  found = {}
  for name, tensor in tensors.items():
    new = names.written(name)
    if new in found:
      raise ValueError(f'{where} has {new} twice, once as {name}')
    found[new] = tensor
  return found


def settle(size: sizes.Size, tensors) -> sizes.Size:
  """The size with what the tensors know better than the config.

  The vocabulary is the rows of the embedding. A head that is written although
  it is tied may be a copy of the embedding; if it differs, it is a head of its
  own after all, as for transformers.
  """
  embedding, head = (tensors.get(n) for n in (names.EMBEDDING, names.HEAD))
  if embedding is None:
    return size
  tied = size.language.tied and (
    head is None
    or (
      head.dtype == embedding.dtype
      and np.array_equal(head.read(), embedding.read())
    )
  )
  return dataclasses.replace(
    size,
    language=dataclasses.replace(
      size.language, vocabulary=embedding.shape[0], tied=tied
    ),
  )


def homes(size: sizes.Size) -> dict[str, names.Home]:
  """names.homes, and that of a head that is a copy of the embedding."""
  found = names.homes(size)
  return {names.HEAD: found[names.EMBEDDING]} | found


def match(size: sizes.Size, tensors, where) -> None:
  """Every parameter has its tensor, every tensor its parameter.

  Args:
    size: of the model.
    tensors: {name: Tensor} without those that are only kept.
    where: for the error.

  Raises:
    ValueError: naming all that have no counterpart, or another shape.
  """
  need, fit = names.homes(size), homes(size)
  both = [name for name in tensors if name in fit]
  lists = {
    'parameters without a tensor': [n for n in need if n not in tensors],
    'tensors without a parameter': [n for n in tensors if n not in fit],
    'tensors of another shape': [
      f'{n} {tensors[n].shape}, not {fit[n].shape}'
      for n in both
      if tensors[n].shape != fit[n].shape
    ],
  }
  said = [f'{what}: {some(found)}' for what, found in lists.items() if found]
  if said:
    raise ValueError(
      f'{where} is not what its config.json says; ' + '; '.join(said)
    )


def some(found, most: int = 20) -> str:
  """The first of many names."""
  rest = len(found) - most
  return ', '.join(found[:most]) + (f' and {rest} more' if rest > 0 else '')


def parts(size: sizes.Size, tensors) -> dict[str, list[safetensors.Tensor]]:
  """For every parameter its tensors, one for each layer, with our axes."""
  found = {}
  for name, home in names.homes(size).items():
    tensor = tensors[name]
    found.setdefault(home.path, []).append(
      safetensors.Tensor(
        home.own_shape,
        tensor.dtype,
        lambda home=home, tensor=tensor: home.to_ours(tensor.read()),
      )
    )
  return found


def stack(path: str, layers, dtype=None) -> np.ndarray:
  """Reads a parameter.

  Args:
    path: of the parameter.
    layers: a Tensor for each.
    dtype: of the array; None for the layers' own, the widest if they differ.
  """
  dtype = dtype or functools.reduce(
    jnp.promote_types, [layer.dtype for layer in layers]
  )
  if not names.stacked(path):
    return np.asarray(layers[0].read(), dtype, order='C')
  array = np.empty((len(layers), *layers[0].shape), dtype)
  for i, layer in enumerate(layers):
    array[i] = layer.read()
  return array


def tensors(size: sizes.Size, params, dtypes) -> dict[str, safetensors.Tensor]:
  """The base's parameters as their tensors.

  Args:
    size: of the model.
    params: flat; may have others beside the base's.
    dtypes: {name: dtype} of the tensors to make.

  Raises:
    ValueError: a parameter is missing or of another shape.
  """
  wrong = [
    f'{path} {np.shape(params.get(path, ()))}, not {shape}'
    for path, shape in names.shapes(size).items()
    if np.shape(params.get(path, ())) != shape
  ]
  if wrong:
    raise ValueError(f'parameters do not fit {size}: {some(wrong)}')
  fit = homes(size)
  return {
    name: _theirs(fit[name], params, np.dtype(safetensors.DTYPES[dtype]))
    for name, dtype in dtypes.items()
  }


def _theirs(home, params, dtype) -> safetensors.Tensor:
  def read():
    leaf = params[home.path]
    layer = np.asarray(leaf if home.layer is None else leaf[home.layer])
    return home.to_theirs(layer.astype(dtype, copy=False))

  return safetensors.Tensor(home.shape, dtype, read)

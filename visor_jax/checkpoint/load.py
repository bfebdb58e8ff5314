"""Checkpoint folders and workdirs of runs, found and read as one."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

import jax
from jax.typing import DTypeLike

from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import folder
from visor_jax.checkpoint import run
from visor_jax.checkpoint import store
from visor_jax.runtime import errors
from visor_jax.runtime import param_paths
from visor_jax.runtime import paths

# Of parameters, of all or {path: dtype}; None for that in which they are saved.
DType = str | Mapping[str, DTypeLike] | None


def locate(path: pathlib.Path | str) -> facts_lib.Location:
  """What is known of a checkpoint folder or a workdir, without its weights.

  Raises:
    ValueError: it is neither, or a run without a finished stage.
  """
  path = paths.parse(path, 'the checkpoint')
  if folder.is_folder(path):
    return folder.locate(path)
  if run.is_run(path):
    start = run.start(path)
    if not start or not (folder.is_folder(start) or run.is_run(start)):
      return run.locate(path)
    before = locate(start)
    location = run.locate(path, before.facts.trained)
    # A run that started from a run has the tokenizer of the first.
    return dataclasses.replace(location, origin=before.origin)
  raise errors.Refusal(
    f'{path} is neither a workdir nor a folder that `python -m '
    'visor_jax.convert import` wrote to the end'
  )


def locate_base(path: pathlib.Path | str) -> facts_lib.Location | None:
  """The dense model that a checkpoint grew from.

  That of a run is what its own base stage left, or the base of what it started
  from; None where it started fresh without one. An imported checkpoint is its
  own base.

  Raises:
    ValueError: it is neither a checkpoint folder nor a workdir.
  """
  if not run.is_run(paths.parse(path, 'the checkpoint')):
    return locate(path)
  start = run.start(path)
  return run.locate_base(path) or (locate_base(start) if start else None)


def load(
  path: pathlib.Path | str,
  shardings: Mapping[str, Any] | None = None,
  dtype: DType = None,
) -> facts_lib.Checkpoint:
  """Reads a checkpoint folder, or what a run has come to.

  Args:
    path: of the folder.
    shardings: nested shardings with at least the parameters that the
      checkpoint has; None puts all on the first device.
    dtype: see DType.

  Raises:
    ValueError: it is neither, or its weights are bad or have no sharding.
  """
  return read(locate(path), shardings, dtype)


def read(
  location: facts_lib.Location,
  shardings: Mapping[str, Any] | None = None,
  dtype: DType = None,
) -> facts_lib.Checkpoint:
  """Reads what `locate` has found; arguments and errors as of `load`."""
  sharding_of = placement(shardings)
  step = int(location.weights.name)
  with store.Checkpoints(location.weights.parent) as checkpoints:
    shapes = {
      name: jax.ShapeDtypeStruct(
        x.shape, _dtype(dtype, name) or x.dtype, sharding=sharding_of(name)
      )
      for name, x in param_paths.flatten(checkpoints.shapes(step)).items()
    }
    params, _ = checkpoints.restore(step, param_paths.unflatten(shapes))
  known = {
    name: x
    for name, x in param_paths.flatten(params).items()
    if location.facts.holds(name)
  }
  return facts_lib.Checkpoint(
    param_paths.unflatten(known), location.facts, location.processor
  )


def _dtype(dtype: DType, path: str) -> DTypeLike | None:
  return dtype.get(path) if isinstance(dtype, Mapping) else dtype


def placement(
  shardings: Mapping[str, Any] | None,
) -> Callable[[str], jax.sharding.Sharding]:
  """Where each parameter shall lie, by its path.

  Args:
    shardings: nested; None puts all on the first device.

  Returns:
    A function that raises a ValueError for a path that has none.
  """
  if shardings is None:
    first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return lambda path: first
  flat = param_paths.flatten(shardings)

  def sharding_of(path: str) -> jax.sharding.Sharding:
    if path not in flat:
      raise errors.Refusal(
        f'the checkpoint has {path}, which the model has not; '
        'is its layout that of the checkpoint?'
      )
    return flat[path]

  return sharding_of

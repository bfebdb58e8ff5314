"""Checkpoint folders, ready to be used or trained further."""

import dataclasses
import json
import pathlib

import jax

from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import run
from visor_jax.checkpoint import store
from visor_jax.convert import sidecar as sidecar_lib
from visor_jax.runtime import files
from visor_jax.runtime import param_paths
from visor_jax.spec import sizes

FACTS = 'visor.json'  # written last: a folder that has it is whole


@dataclasses.dataclass(frozen=True)
class Imported:
  """Parameters with all that is known of them.

  Attributes:
    params: nested; `llm/cross` and `router` only where there were some.
    facts: size, layout and the rest.
    sidecar: what an export needs, or None.
  """

  params: dict
  facts: facts_lib.Facts
  sidecar: sidecar_lib.Sidecar | None

  @property
  def size(self) -> sizes.Size:
    """Widths and depths of the base model."""
    return self.facts.architecture.size


def load(src, shardings=None, dtype=None) -> Imported:
  """Reads a checkpoint folder; arguments as of `read`.

  Raises:
    ValueError: it is no such folder, or not whole.
  """
  src = pathlib.Path(src)
  if not (src / FACTS).exists():
    raise ValueError(
      f'{src} has no {FACTS}: it is not a folder that `python '
      '-m visor_jax.convert import` wrote to the end'
    )
  found, place = json.loads((src / FACTS).read_text()), placement(shardings)
  facts = facts_lib.from_json(found, src / FACTS)
  shapes = {
    path: jax.ShapeDtypeStruct(shape, dtype or saved_as, sharding=place(path))
    for path, (saved_as, shape) in found['params'].items()
  }
  with store.Checkpoints(src / 'checkpoints') as saved:
    params, _ = saved.restore(0, param_paths.unflatten(shapes))
  hf = src / 'hf'
  return Imported(params, facts, sidecar_lib.read(hf) if hf.exists() else None)


def read_run(src, shardings=None, dtype=None) -> Imported:
  """Reads what the workdir of a run has come to; arguments as of `load`."""
  params, location = run.read(src, placement(shardings), dtype)
  origin = location.origin
  sidecar = sidecar_lib.read(pathlib.Path(origin) / 'hf') if origin else None
  return Imported(params, location.facts, sidecar)


def read_facts(src: pathlib.Path | str) -> facts_lib.Location:
  """What is known of a checkpoint folder or a workdir, without its weights.

  Raises:
    ValueError: it is neither.
  """
  src = pathlib.Path(src)
  if run.is_run(src):
    return run.read_facts(src)
  if not (src / FACTS).exists():
    raise ValueError(
      f'{src} is neither a workdir nor a folder that `python -m '
      'visor_jax.convert import` wrote to the end'
    )
  values = json.loads((src / FACTS).read_text())
  return facts_lib.Location(
    facts=facts_lib.from_json(values, src / FACTS),
    origin=str(src),
    weights=src / 'checkpoints' / '0',
  )


def save(out, params, facts: facts_lib.Facts, sidecar=None) -> None:
  """Writes a checkpoint folder.

  Args:
    out: a new folder.
    params: nested.
    facts: about them.
    sidecar: of the checkpoint that they come from; without, no export.

  Raises:
    ValueError: the folder is there already.
  """
  out = require_new(out)
  if sidecar:
    sidecar.write(out / 'hf')
  with store.Checkpoints(out / 'checkpoints') as saved:
    saved.save(0, params)
    saved.wait()
  shapes = {
    path: [str(x.dtype), list(x.shape)]
    for path, x in sorted(param_paths.flatten(params).items())
  }
  files.write_atomic(
    out / FACTS, json.dumps(facts.to_json() | {'params': shapes}, indent=1)
  )


def require_new(out) -> pathlib.Path:
  out = pathlib.Path(out)
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise ValueError(f'{out} is there already; name a new folder or delete it')
  return out


def placement(shardings):
  """path -> where a parameter shall lie."""
  if shardings is None:
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return lambda path: here
  flat = param_paths.flatten(shardings)

  def find(path):
    if path not in flat:
      raise ValueError(
        f'the checkpoint has {path}, which the model has not; '
        'is its layout that of the checkpoint?'
      )
    return flat[path]

  return find

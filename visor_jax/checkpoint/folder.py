"""Checkpoint folders, ready to be used or trained further.

visor.json             Facts, and dtype and shape of every parameter
checkpoints/0/params   the parameters, as orbax writes them
hf/                    tokenizer, chat template, configs; may be missing
"""

from collections.abc import Callable
import json
import pathlib

from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import store
from visor_jax.runtime import checksums
from visor_jax.runtime import errors
from visor_jax.runtime import files
from visor_jax.runtime import param_paths
from visor_jax.runtime import paths
from visor_jax.spec import workdir

FACTS = 'visor.json'  # written last: a folder that has it is whole


def is_folder(path: pathlib.Path | str) -> bool:
  """Whether it is a checkpoint folder that was written to the end."""
  return (paths.parse(path) / FACTS).exists()


def locate(path: pathlib.Path | str) -> facts_lib.Location:
  """What is known of a checkpoint folder, without its weights."""
  path = paths.parse(path)
  values = checksums.read_object(path / FACTS)
  return facts_lib.Location(
    facts=facts_lib.from_json(values, path / FACTS),
    origin=str(path),
    weights=path / workdir.CHECKPOINTS / '0',
  )


def save(
  out: pathlib.Path | str,
  params: param_paths.Params,
  facts: facts_lib.Facts,
  write_processor: Callable[[pathlib.Path], None] | None = None,
) -> None:
  """Writes a checkpoint folder.

  Args:
    out: a new folder.
    params: nested.
    facts: about them.
    write_processor: makes the folder of tokenizer and configs at a path;
      without, the checkpoint cannot be exported.

  Raises:
    ValueError: the folder is there already.
  """
  out = require_new(out)
  if write_processor:
    write_processor(out / facts_lib.PROCESSOR)
  with store.Checkpoints(out / workdir.CHECKPOINTS) as checkpoints:
    checkpoints.save(0, params)
    checkpoints.wait()
  shapes = {
    path: [str(x.dtype), list(x.shape)]
    for path, x in sorted(param_paths.flatten(params).items())
  }
  files.write_atomic(
    out / FACTS, json.dumps(facts.to_json() | {'params': shapes}, indent=1)
  )


def require_new(out: pathlib.Path | str) -> pathlib.Path:
  """The path of a folder to write.

  Raises:
    ValueError: something is there.
  """
  out = paths.parse(out)
  if out.exists() and (not out.is_dir() or any(out.iterdir())):
    raise errors.Refusal(
      f'{out} is there already; name a new folder or delete it'
    )
  return out

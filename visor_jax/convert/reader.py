"""Any folder that holds a model: of a checkpoint, a run, or Hugging Face."""

import pathlib

from visor_jax.checkpoint import folder
from visor_jax.checkpoint import run
from visor_jax.convert import hf


def read(src, shardings=None, dtype=None) -> folder.Imported:
  """Reads a checkpoint folder, a workdir or a Hugging Face folder."""
  if (pathlib.Path(src) / folder.FACTS).exists():
    return folder.load(src, shardings, dtype)
  return (folder.read_run if run.is_run(src) else hf.read)(
    src, shardings, dtype
  )

"""Any folder that holds a model: of a checkpoint, a run, or Hugging Face."""

from collections.abc import Mapping
import pathlib
from typing import Any

from visor_jax.checkpoint import facts
from visor_jax.checkpoint import folder
from visor_jax.checkpoint import load
from visor_jax.checkpoint import run
from visor_jax.convert import hf


def read(
  path: pathlib.Path | str,
  shardings: Mapping[str, Any] | None = None,
  dtype: str | None = None,
) -> facts.Checkpoint:
  """Reads a model from where it lies.

  Args:
    path: a checkpoint folder, a workdir, a Hugging Face folder or a name on the
      hub.
    shardings: nested shardings with at least the parameters that the
      checkpoint has; None puts all on the first device.
    dtype: of the parameters; None for that in which they are saved.

  Raises:
    ValueError: it is none of these, not whole, or of another architecture.
  """
  ours = folder.is_folder(path) or run.is_run(path)
  return (load.load if ours else hf.read)(path, shardings, dtype)

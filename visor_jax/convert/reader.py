"""Any folder that holds a model: of a checkpoint, a run, or Hugging Face."""

from collections.abc import Mapping
import pathlib
from typing import Any

from visor_jax.checkpoint import facts
from visor_jax.checkpoint import folder
from visor_jax.checkpoint import load
from visor_jax.checkpoint import run
from visor_jax.convert import hf
from visor_jax.convert import hub


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
  return (load.load if _is_ours(path) else hf.read)(path, shardings, dtype)


def outline(path: pathlib.Path | str) -> facts.Location | facts.Checkpoint:
  """What is known of a model before its weights are read.

  Args:
    path: as of `read`.

  Raises:
    ValueError: as of `read`.
  """
  return load.locate(path) if _is_ours(path) else hf.outline(hub.local(path))


def _is_ours(path: pathlib.Path | str) -> bool:
  return folder.is_folder(path) or run.is_run(path)

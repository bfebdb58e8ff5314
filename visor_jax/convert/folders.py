"""Folders made of folders: a checkpoint's of Hugging Face's, and back."""

import pathlib

from visor_jax.checkpoint import folder
from visor_jax.convert import hf
from visor_jax.convert import hub
from visor_jax.convert import reader
from visor_jax.convert import rehearsal
from visor_jax.convert import sidecar
from visor_jax.runtime import console


def import_(src: pathlib.Path | str, out: pathlib.Path | str) -> None:
  """Makes a checkpoint folder of a Hugging Face one.

  Args:
    src: a folder with config.json and safetensors, or a name on the hub.
    out: a new folder.

  Raises:
    OSError: a file is missing or cannot be read.
    ValueError: as hf.read does, the model cannot be asked, or `out` is there
      already; nothing is written then.
  """
  folder.require_new(out)
  src = hub.local(src)
  rehearsal.rehearse(hf.outline(src))
  checkpoint = hf.read(src)
  console.log(f'import: writing {out}')
  folder.save(out, checkpoint.params, checkpoint.facts, sidecar.read(src).write)


def export(
  src: pathlib.Path | str, out: pathlib.Path | str, form: str = 'transformers'
) -> None:
  """Makes a Hugging Face folder of a checkpoint.

  Args:
    src: a checkpoint folder or the workdir of a run.
    out: a new folder.
    form: what for, one of hf.FORMS.

  Raises:
    ValueError: as reader.read and hf.write do.
  """
  folder.require_new(out)
  console.log(f'export: reading {src}')
  hf.write(out, reader.read(src), form)

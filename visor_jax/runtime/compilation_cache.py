"""Compiled programs that outlive the process."""

import hashlib
import os
import pathlib
import platform
import re

import jax

from visor_jax.runtime import paths

CPU = pathlib.Path('/proc/cpuinfo')  # of Linux
FOLDER = 'compiled'  # beside a checkpoint, and by default in a workdir


def use(folder: pathlib.Path | str) -> None:
  """Keeps programs in a folder, unless jax was told where.

  Each kind of host has its own folder in it: another may lack instructions that
  they use.
  """
  if jax.config.values['jax_compilation_cache_dir']:
    return
  text = CPU.read_text() if CPU.exists() else ''
  instructions = re.findall(r'^(?:flags|Features).*', text, re.MULTILINE)[:1]
  kind = f'{platform.machine()} {instructions}'.encode()
  path = pathlib.Path(folder, hashlib.sha256(kind).hexdigest()[:12])
  jax.config.update('jax_compilation_cache_dir', str(path.absolute()))


def use_beside(checkpoint: pathlib.Path | str) -> pathlib.Path:
  """Keeps programs beside a checkpoint, or in VISOR_CACHE.

  Args:
    checkpoint: a folder, or the name of one that is elsewhere.

  Returns:
    The folder: one that cannot be written holds none.
  """
  beside = paths.cache()
  if not paths.in_bucket(checkpoint):
    folder = pathlib.Path(checkpoint)
    beside = folder if os.access(folder, os.W_OK) else beside
  use(beside / FOLDER)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.1)
  return beside / FOLDER

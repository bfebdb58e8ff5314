"""Compiled programs that outlive the process."""

import hashlib
import pathlib
import platform
import re

import jax

CPU = pathlib.Path('/proc/cpuinfo')  # of Linux


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

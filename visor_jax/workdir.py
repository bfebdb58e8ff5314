"""The folder of a run: whose it is, and that only one run writes to it."""

import contextlib
import fcntl
import json
import os
import pathlib

from visor_jax import config as config_lib
from visor_jax import log


@contextlib.contextmanager
def claim(path, config):
  """Holds the workdir for this process while the context lasts.

  The lock is the kernel's: it goes with the process, however that ends.

  Args:
    path: of the workdir; made if it is not there.
    config: of the run; written to config.json, or compared with it.

  Raises:
    ValueError: another run is writing there, or it belongs to another config.
  """
  path = pathlib.Path(path)
  path.mkdir(parents=True, exist_ok=True)
  with open(path / 'lock', 'a+') as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      lock.seek(0)
      raise ValueError(
          f'workdir {path} is in use by process {lock.read().strip()}; wait '
          'for it, stop it, or give another --workdir') from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    _compare(path / 'config.json', config)
    yield path


def made(path, name: str, stage: str) -> pathlib.Path:
  """The path of what a stage left in the workdir.

  Raises:
    ValueError: it is not there; names the stage to run.
  """
  path = pathlib.Path(path) / name
  if not path.exists():
    raise ValueError(f'there is no {path}; run the {stage} stage first')
  return path


def _compare(path, config):
  if path.exists():
    found = config_lib.differences(config, json.loads(path.read_text()))
    if found:
      lines = '\n'.join(
          f'  {d.key}: here {d.here!r}, in the workdir {d.there!r}'
          for d in found)
      raise ValueError(
          f'workdir {path.parent} belongs to another config:\n{lines}\n'
          'Give another --workdir, or change these keys back.')
  else:
    log.write_atomic(path, json.dumps(config_lib.identity(config), indent=1))

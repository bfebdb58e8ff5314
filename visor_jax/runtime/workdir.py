"""The folder of a run: whose it is, and that only one run writes to it."""

import contextlib
import fcntl
import functools
import json
import os
import pathlib
import time

from visor_jax.runtime import cluster
from visor_jax.runtime import files
from visor_jax.runtime import identity as identity_lib


@contextlib.contextmanager
def claim(path, config, patience: float = 0):
  """Holds the workdir for this run while the context lasts.

  Process 0 does so for all; the others look whether they see the same folder.
  The lock is the kernel's: it goes with the process, however that ends.

  Args:
    path: of the workdir; made if it is not there.
    config: of the run; written to config.json, or compared with it.
    patience: seconds to wait for another run to let go. A server of files may
      take minutes to notice that the host of the last one died.

  Raises:
    ValueError: another run is writing there, it belongs to another config, or
      it is not shared between the hosts.
  """
  path = pathlib.Path(path)
  with contextlib.ExitStack() as held:
    mark = cluster.all_or_raise(
      'claiming the workdir',
      lambda: (
        _lock(path, config, held, patience) if cluster.is_primary() else ''
      ),
    )
    mark, *_ = cluster.exchange('the mark in the workdir', mark)
    cluster.all_or_raise('looking at the workdir', lambda: _look(path, mark))
    yield path


def _lock(path, config, held, patience):
  """Locks the folder; the mark that says so in it."""
  path.mkdir(parents=True, exist_ok=True)
  lock = held.enter_context(open(path / 'lock', 'a+'))
  until = time.monotonic() + patience
  while True:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      break
    except BlockingIOError:
      if time.monotonic() >= until:
        lock.seek(0)
        raise ValueError(
          f'workdir {path} is in use by process {lock.read().strip()}; wait '
          'for it, stop it, or give another --workdir'
        ) from None
      time.sleep(1)
  lock.truncate(0)
  mark = f'{os.getpid()} on {cluster.host()} since {time.time()}'
  lock.write(mark)
  lock.flush()
  os.fsync(lock.fileno())  # a server of files must have it
  _compare(path / 'config.json', config)
  return mark


def _look(path, mark, patience: float = 10):
  """Does this process see what process 0 wrote?"""
  until = time.monotonic() + patience
  while time.monotonic() < until:
    with contextlib.suppress(OSError):
      if (path / 'lock').read_text() == mark:
        return
    time.sleep(0.5)
  raise ValueError(
    f'workdir {path} is not shared: host {cluster.host()} does not see what '
    f'host {cluster.hosts()[0]} writes there; give one that all hosts see'
  )


def write_shared(path, text: str) -> None:
  """Writes a file of the run, whole or not at all, before anyone goes on.

  All processes call it with the same text; process 0 writes.
  """
  if cluster.is_primary():
    files.write_atomic(path, text)
  cluster.exchange(f'writing {pathlib.Path(path).name}')


def require(path, name: str, stage: str) -> pathlib.Path:
  """The path of what a stage left in the workdir.

  Raises:
    ValueError: it is not there; names the stage to run.
  """
  path = pathlib.Path(path) / name
  if not path.exists():
    raise ValueError(f'there is no {path}; run the {stage} stage first')
  return path


def check_same_data(path, fingerprints: dict[str, str]) -> None:
  """Keeps what the data of a run is known by, in data.json.

  Args:
    path: of the workdir.
    fingerprints: of the sources that are in use now; others are kept.

  Raises:
    ValueError: a source is not what it was when the run began, or not what
      it is for process 0.
  """
  mine = json.dumps(fingerprints, sort_keys=True)
  cluster.all_or_raise(
    'comparing the data',
    functools.partial(_same, mine, cluster.exchange('the data', mine)[0]),
  )
  path = pathlib.Path(path) / 'data.json'
  known = json.loads(path.read_text()) if path.exists() else {}
  changed = [
    name for name, now in fingerprints.items() if known.get(name, now) != now
  ]
  if changed:
    raise ValueError(
      f'the data of {", ".join(changed)} is not what workdir {path.parent} '
      'was begun with; bring it back, or give another --workdir'
    )
  if fingerprints:
    write_shared(path, json.dumps(known | fingerprints, indent=1))


def _same(mine, first):
  if mine != first:
    raise ValueError(
      f'the data of host {cluster.host()} is {mine}, that of '
      f'host {cluster.hosts()[0]} {first}'
    )


def _compare(path, config):
  if path.exists():
    found = identity_lib.differences(config, json.loads(path.read_text()))
    if found:
      lines = '\n'.join(
        f'  {d.key}: here {d.here!r}, in the workdir {d.there!r}' for d in found
      )
      raise ValueError(
        f'workdir {path.parent} belongs to another config:\n{lines}\n'
        'Give another --workdir, or change these keys back.'
      )
  else:
    files.write_atomic(
      path, json.dumps(identity_lib.identity(config), indent=1)
    )

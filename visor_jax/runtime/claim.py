"""The folder of a run: whose it is, and that only one run writes to it.

What lies in it is spec/workdir.py's to say. Process 0 writes for all.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import json
import os
import pathlib
import time

import ml_collections

from visor_jax.runtime import checksums
from visor_jax.runtime import cluster
from visor_jax.runtime import errors
from visor_jax.runtime import identity
from visor_jax.runtime import lease
from visor_jax.runtime import lock
from visor_jax.runtime import paths
from visor_jax.runtime import retry
from visor_jax.spec import workdir as workdir_lib


@contextlib.contextmanager
def claim(
  path: pathlib.Path | str, timeout: float = 0
) -> Iterator[workdir_lib.Workdir]:
  """Holds the workdir for this run while the context lasts.

  Process 0 does so for all; the others check that they see the same folder.
  The hold goes with the process, however that ends, see lock.py.

  Args:
    path: folder of the run; made if it is not there.
    timeout: seconds to wait for another run to let go. A server of files may
      take minutes to notice that the host of the last one died.

  Raises:
    Refusal: another run is writing there, or it is not shared between the
      hosts.
  """
  workdir = workdir_lib.Workdir(paths.parse(path, '--workdir'))
  with contextlib.ExitStack() as held:

    def hold() -> str:
      if not cluster.is_primary():
        return ''
      return _hold(workdir, held, timeout)

    owner = cluster.all_or_raise('claiming the workdir', hold)
    owner, *_ = cluster.exchange('the owner of the workdir', owner)
    cluster.all_or_raise(
      'reading the workdir', lambda: _check_shared(workdir, owner)
    )
    yield workdir


def forget(workdir: workdir_lib.Workdir) -> None:
  """Takes back what a run says of itself, before it has any results."""
  for path in (workdir.config, workdir.architecture, workdir.data):
    checksums.remove(path)


@errors.refusals()
def check_config(
  workdir: workdir_lib.Workdir,
  config: ml_collections.ConfigDict,
  dependents: Callable[[str], Sequence[str]],
) -> None:
  """Compares a config with config.json, where there is one.

  Args:
    workdir: of the run.
    config: the whole config.
    dependents: path of a key -> the jobs that have results which depend on it.

  Raises:
    ValueError: results depend on a key that differs; names key, both values and
      the jobs.
  """
  if not workdir.config.exists():
    return
  saved = checksums.read_object(workdir.config)
  lines = [
    f'  {d.key}: here {d.here!r}, in the workdir {d.there!r}; '
    f'results of {", ".join(dependents(d.key))} depend on it'
    for d in identity.differences(config, saved)
    if dependents(d.key)
  ]
  if lines:
    raise errors.Refusal(
      f'workdir {workdir.path} belongs to another config:\n'
      + '\n'.join(lines)
      + '\nGive another --workdir, or change these keys back; with the folder '
      'of a job its results go.'
    )


def write_shared(path: pathlib.Path | str, text: str) -> None:
  """Writes a file of the run and its hash before anyone goes on.

  All processes call it with the same text; process 0 writes.
  """
  if cluster.is_primary():
    checksums.write(paths.parse(path), text)
  cluster.exchange(f'writing {paths.parse(path).name}')


def require(path: pathlib.Path, job: str) -> pathlib.Path:
  """The path of a file that a job leaves in the workdir.

  Raises:
    ValueError: it is not there; names the job to run.
  """
  if not path.exists():
    raise errors.Refusal(f'there is no {path}; run the {job} stage first')
  return path


@errors.refusals()
def check_same_data(
  path: pathlib.Path | str, fingerprints: Mapping[str, str]
) -> None:
  """Compares the data of a run with data.json, and adds to it what is new.

  Args:
    path: folder of the run.
    fingerprints: digest of each source that is used now; the file keeps those
      of other sources.

  Raises:
    ValueError: a source is not what it was when the run began, or not what
      it is for process 0.
  """
  digests = json.dumps(dict(fingerprints), sort_keys=True)
  primary, *_ = cluster.exchange('the data', digests)
  cluster.all_or_raise(
    'comparing the data', lambda: _check_equal(digests, primary)
  )
  file = workdir_lib.Workdir(paths.parse(path)).data
  saved = checksums.read_object(file) if file.exists() else {}
  changed = [
    source
    for source, digest in fingerprints.items()
    if saved.get(source, digest) != digest
  ]
  if changed:
    raise errors.Refusal(
      f'the data of {", ".join(changed)} is not what workdir {path} '
      'was begun with; bring it back, or give another --workdir'
    )
  if fingerprints:
    write_shared(file, json.dumps(saved | dict(fingerprints), indent=1))


def _hold(
  workdir: workdir_lib.Workdir, held: contextlib.ExitStack, timeout: float
) -> str:
  """Holds the folder until `held` closes; returns the owner it writes there."""
  owner = f'{os.getpid()} on {cluster.host()} since {time.time()}'
  retry.retry(
    f'making {workdir.path}',
    lambda: paths.make_folder(workdir.path),
  )
  try:
    kind = lease if paths.in_bucket(workdir.path) else lock
    held.enter_context(kind.hold(workdir.lock, owner, timeout))
  except lock.HeldError as e:
    raise errors.Refusal(
      f'workdir {workdir.path} is in use by process {e}; '
      'wait for it, stop it, or give another --workdir'
    ) from None
  return owner


def _check_shared(
  workdir: workdir_lib.Workdir, owner: str, timeout: float = 10
) -> None:
  """Raises unless this process sees what process 0 wrote."""
  deadline = time.monotonic() + timeout
  failure: OSError | None = None
  while time.monotonic() < deadline:
    try:
      if workdir.lock.read_text() == owner:
        return
    except OSError as e:
      failure = e
    time.sleep(0.5)
  if failure and retry.passing(failure):
    raise failure
  raise errors.Refusal(
    f'workdir {workdir.path} is not shared: host {cluster.host()} does not see '
    f'what host {cluster.hosts()[0]} writes there; give one that all hosts see'
  )


def _check_equal(digests: str, primary: str) -> None:
  """Raises unless the data of this process is that of process 0."""
  if digests != primary:
    raise errors.Refusal(
      f'the data of host {cluster.host()} is {digests}, that of '
      f'host {cluster.hosts()[0]} {primary}'
    )

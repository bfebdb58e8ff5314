"""The folder of a stage's checkpoints: which are steps, and what else is there.

  8/                      a step; orbax gives it this name when it is written
  8.orbax-checkpoint-tmp  one that was being written
  8.deleted               one that was being deleted

Anything else is somebody's, a server's of files for one, and is left alone.
"""

from collections.abc import Collection
import pathlib
import re

from visor_jax.checkpoint import manifest
from visor_jax.runtime import console
from visor_jax.runtime import errors
from visor_jax.runtime import paths
from visor_jax.runtime import retry

_STEP = re.compile('0|[1-9][0-9]*')  # not isdigit: digits of other scripts are
_LEFT = re.compile(r'([0-9]+)\.(deleted|orbax-checkpoint-tmp.*)')


def steps(folder: pathlib.Path) -> list[int]:
  """Steps that orbax has given their names, newest last.

  Raises:
    Refusal: the folder may not be read.
    OSError: it cannot be read now.
  """
  return sorted(int(path.name) for path in _list(folder) if _is_step(path))


def others(folder: pathlib.Path) -> list[pathlib.Path]:
  """What is there that is no step, nor left of one; errors as of `steps`."""
  return [
    path
    for path in _list(folder)
    if not (_is_step(path) or _LEFT.fullmatch(path.name))
  ]


def require_free(path: pathlib.Path) -> None:
  """Checks that a step can be written, in place of an older one if need be.

  Raises:
    Refusal: what is there is no folder.
  """
  if path.is_symlink() or (path.exists() and not path.is_dir()):
    raise errors.Refusal(
      f'{path} is where a checkpoint shall be written, and is no folder; '
      'move it away'
    )


def delete(folder: pathlib.Path, keep: Collection[int]) -> None:
  """Deletes steps, and what is left of steps; what cannot be is said.

  Args:
    folder: of a stage's checkpoints.
    keep: steps to leave there.
  """
  # Names that are longer come first: 4.deleted makes room for 4.
  for path in sorted(_list(folder), reverse=True):
    try:
      if _LEFT.fullmatch(path.name):
        _remove(path)
      elif _is_step(path) and int(path.name) not in keep:
        # No step may be seen with half its files.
        _remove(_unfinished(path))
    except OSError as e:  # the next save tries again
      console.log(f'{path} could not be deleted: {e.strerror or e}')


def _unfinished(path: pathlib.Path) -> pathlib.Path:
  """A step under a name that is none; in a bucket, without its hashes."""
  if not paths.in_bucket(path):
    return path.rename(f'{path}.deleted')
  for file in path.glob(manifest.name('*')):
    file.unlink()
  return path


def _remove(path: pathlib.Path) -> None:
  if not paths.in_bucket(path) and (path.is_symlink() or not path.is_dir()):
    path.unlink()
  else:
    paths.remove_folder(path)


def _list(folder: pathlib.Path) -> list[pathlib.Path]:
  """All that is in a folder, by name; nothing where there is none."""
  try:
    return retry.retry(f'listing {folder}', lambda: sorted(folder.iterdir()))
  except (FileNotFoundError, NotADirectoryError):
    return []
  except PermissionError as e:
    raise errors.Refusal(f'{folder} cannot be read: {e.strerror or e}') from e


def _is_step(path: pathlib.Path) -> bool:
  if not _STEP.fullmatch(path.name):
    return False
  try:
    return retry.retry(f'reading {path}', path.is_dir)
  except PermissionError:
    return False

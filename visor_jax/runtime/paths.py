"""Paths of this machine and of buckets, taken where a person gives them.

A path in a bucket is a upath.UPath: it has the methods of a pathlib.Path, and
`open`, `os` and pathlib, which would make a folder `gs:` of it, refuse it.
Objects are written complete or not at all, and need no folders made. Accounts
and endpoints are what the clients of the stores read: AWS_*, GOOGLE_*.
"""

import errno
import hashlib
import os
import pathlib
import re
import shutil
import typing
from typing import Any

from visor_jax.runtime import errors
from visor_jax.runtime import regular_files
from visor_jax.runtime import retry

BUCKETS = {'gs': 'gcsfs', 's3': 's3fs'}  # what speaks to them

# pathlib takes one of the two slashes away.
_ADDRESS = re.compile('([a-z][a-z0-9+.-]{1,15})://|(gs|s3|hdfs):/')
_MOUNT = (
  'mount it (gcsfuse, mountpoint-s3) and give its folder, or copy what is '
  'needed (gcloud storage cp, aws s3 cp)'
)


def parse(text: pathlib.Path | str, what: str = 'a path') -> pathlib.Path:
  """A path of this machine, or in a bucket; of the latter, nothing is asked.

  Args:
    text: the path, as it was given.
    what: the key or flag that it was given by.

  Raises:
    Refusal: it is in another store, or what speaks to it is not installed.
  """
  match = _ADDRESS.match(str(text))
  if not match:
    return pathlib.Path(text)
  scheme, rest = match[1] or match[2], str(text)[match.end() :]
  if scheme not in BUCKETS:
    raise errors.Refusal(
      f'{what} is {scheme}://{rest}: expected a folder, '
      f'{" or ".join(f"{known}://" for known in BUCKETS)}; {_MOUNT}'
    )
  try:
    import upath

    # What others write must be seen.
    path = upath.UPath(f'{scheme}://{rest}', use_listings_cache=False)
    assert path.fs  # imports what speaks to it
  except ImportError as e:
    raise errors.Refusal(
      f'{what} is {scheme}://{rest}, which needs {e.name or BUCKETS[scheme]}: '
      "pip install 'visor_jax[stores]'"
    ) from None
  return typing.cast(pathlib.Path, path)


def local(text: pathlib.Path | str, what: str) -> pathlib.Path:
  """A path of this machine; arguments as of `parse`.

  Raises:
    Refusal: it is in a bucket or another store.
  """
  match = _ADDRESS.match(str(text))
  if match:
    scheme, rest = match[1] or match[2], str(text)[match.end() :]
    raise errors.Refusal(
      f'{what} is {scheme}://{rest}, but must be on a disk: {_MOUNT}'
    )
  return pathlib.Path(text)


def in_bucket(path: pathlib.Path | str) -> bool:
  """Whether a path is in a bucket, as `parse` gives it or as text."""
  match = _ADDRESS.match(str(path))
  return not isinstance(path, pathlib.Path) and bool(
    match and (match[1] or match[2]) in BUCKETS
  )


def cache() -> pathlib.Path:
  """Folder of this machine for what can be had again: VISOR_CACHE."""
  default = pathlib.Path.home() / '.cache' / 'visor_jax'
  return pathlib.Path(os.environ.get('VISOR_CACHE') or default)


def store(path: pathlib.Path) -> Any:
  """The fsspec file system of a path in a bucket."""
  return typing.cast(Any, path).fs


def read(
  path: pathlib.Path | str, most: int = regular_files.MAX_BYTES
) -> bytes:
  """All bytes of a stranger's file; as regular_files, in buckets too."""
  if not in_bucket(path):
    return regular_files.read(path, most)
  path = parse(path)
  try:
    size = path.stat().st_size
    if size > most:
      raise regular_files.LargeFile(
        f'{path} has {size} bytes; expected at most {most}'
      )
    return path.read_bytes()
  except (FileNotFoundError, PermissionError) as e:  # they have no number
    code = errno.ENOENT if isinstance(e, FileNotFoundError) else errno.EACCES
    raise OSError(code, os.strerror(code), str(path)) from e


def local_copy(path: pathlib.Path) -> pathlib.Path:
  """A file or a folder of files on this machine, copied out of a bucket.

  It is copied once, and again when it is not what it was. What is on this
  machine anyway is not copied.

  Raises:
    FileNotFoundError: there is nothing in the bucket.
  """
  if not in_bucket(path):
    return path

  def copy() -> pathlib.Path:
    there = store(path).find(str(path), maxdepth=1, detail=True)
    if not there:
      raise FileNotFoundError(f'{path}: no such file or folder')
    facts = [
      (name, info['size'], info.get('ETag', info.get('etag')))
      for name, info in sorted(there.items())
    ]
    key = hashlib.sha256(repr((str(path), facts)).encode()).hexdigest()[:24]
    folder = cache() / key
    if not folder.exists():
      part = cache() / f'{key}.{os.getpid()}.part'
      for name in there:
        file = part / path.name
        if name != str(path).partition('://')[2]:  # in a folder
          file /= name.rpartition('/')[2]
        file.parent.mkdir(parents=True, exist_ok=True)
        store(path).get_file(name, str(file))
      try:
        part.rename(folder)
      except OSError:  # another process was faster
        if not folder.exists():
          raise
        shutil.rmtree(part)
    return folder / path.name

  return retry.retry(f'copying {path}', copy)


def walk(folder: pathlib.Path) -> list[str]:
  """Paths below a folder that are no folders, sorted, '/' between parts."""
  if in_bucket(folder):  # one request for all
    start = len(str(folder).partition('://')[2]) + 1
    return [name[start:] for name in sorted(store(folder).find(str(folder)))]
  return [
    path.relative_to(folder).as_posix()
    for path in sorted(folder.rglob('*'))
    if not path.is_dir()
  ]


def remove_folder(path: pathlib.Path) -> None:
  """Removes a folder and all that is in it."""
  if in_bucket(path):
    store(path).rm(str(path), recursive=True)
  else:
    shutil.rmtree(path)


def make_folder(path: pathlib.Path) -> None:
  """Makes a folder and those above it; in a bucket there are none to make."""
  if not in_bucket(path):
    path.mkdir(parents=True, exist_ok=True)

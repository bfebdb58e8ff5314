"""Where the bytes of a record's images are, and how they are read in bounds.

Records come from strangers: a path may lead anywhere, to what is no file, or to
one without an end. None of them may cost more than one bad record.
"""

import base64
import binascii
import dataclasses
import errno
import functools
import os
import pathlib
import urllib.parse

from visor_jax.runtime import paths
from visor_jax.runtime import regular_files
from visor_jax.runtime import retry

# Errors of the path itself, and what is wrong with it; others are the disk's.
_REASONS = {
  errno.ENOENT: 'missing image',
  errno.ENOTDIR: 'missing image',
  errno.ENAMETOOLONG: 'missing image',
  errno.EINVAL: 'missing image',
  errno.ELOOP: 'unreadable image',
  errno.EACCES: 'unreadable image',
  errno.EPERM: 'unreadable image',
  errno.ENXIO: 'special file',  # a socket
  errno.ENODEV: 'special file',
}


class BadPath(ValueError):
  """A path that leads to no image that may be read.

  Attributes:
    reason: one of records.REASONS.
  """

  def __init__(self, reason: str, detail: str):
    super().__init__(detail)
    self.reason = reason


@dataclasses.dataclass(frozen=True)
class Folder:
  """Where the image paths of records start from.

  Attributes:
    path: the folder; None where records may hold bytes alone.
    follow_outside: paths and links may lead out of it.
  """

  path: pathlib.Path | str | None = None
  follow_outside: bool = False

  def read(self, value: object) -> bytes:
    """The bytes of an image's file.

    Args:
      value: those bytes, the file's path, a data: or file: URL, or the hub's
        {bytes, path}.

    Raises:
      BadPath: there is no such file, or none that may be read.
      OSError: the disk failed, of which nothing follows for the image.
    """
    if isinstance(value, dict):
      value = value.get('bytes') or value.get('path')
    if isinstance(value, bytes):
      return value
    if not isinstance(value, str) or not value or '\0' in value:
      raise BadPath('missing image', f'{value!r} is no path')
    if value.startswith('data:'):
      return _decoded(value)
    if value.startswith(('http://', 'https://')):
      raise BadPath('missing image', f'{value} is not on this disk')
    if value.startswith('file://'):
      value = urllib.parse.unquote(value.removeprefix('file://'))
    return self._read_path(value)

  def _read_path(self, value: str) -> bytes:
    if self.path is None:
      raise BadPath('missing image', f'{value}: no folder of images was given')
    path = value
    if not paths.in_bucket(value):
      path = os.path.join(str(self.path), value)
    try:
      if not self.follow_outside:
        self._check_inside(path)
      return retry.retry(f'reading {path}', lambda: paths.read(path))
    except regular_files.SpecialFile as e:
      raise BadPath('special file', str(e)) from None
    except regular_files.LargeFile as e:
      raise BadPath('large image', str(e)) from None
    except UnicodeEncodeError as e:  # half a character
      raise BadPath('missing image', str(e)) from None
    except OSError as e:
      # Of a disk that fails nothing is known: that must stop the run.
      if e.errno not in _REASONS:
        raise OSError(e.errno, os.strerror(e.errno or 0), path) from e
      raise BadPath(
        _REASONS[e.errno], f'{path}: {os.strerror(e.errno)}'
      ) from None

  def _check_inside(self, path: str) -> None:
    real = _resolved(path)
    if real != (root := _root(str(self.path))) and not real.startswith(
      os.path.join(root, '')
    ):
      raise BadPath(
        'outside image', f'{path} leads to {real}, which is not in {root}'
      )


@functools.lru_cache(maxsize=64)
def _root(folder: str) -> str:
  return _resolved(folder)


def _resolved(path: str) -> str:
  """Without links and dots; buckets have no links."""
  if paths.in_bucket(path):
    return os.path.normpath(path)
  return os.path.realpath(path)


def _decoded(url: str) -> bytes:
  """The bytes that stand in a data: URL."""
  head, _, data = url.partition(',')
  if not head.endswith(';base64'):
    raise BadPath(
      'broken image', f'{head[:40]!r}; expected data:image/...;base64,'
    )
  try:
    return base64.b64decode(data, validate=True)
  except (binascii.Error, ValueError) as e:
    raise BadPath('broken image', f'base64: {e}') from None

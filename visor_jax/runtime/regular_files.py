"""Files of strangers, read in bounded time and memory."""

import errno
import os
import pathlib
import stat
from typing import BinaryIO
from typing import cast

from visor_jax.runtime import paths

# What as many pixels as Pillow opens take, three bytes each.
MAX_BYTES = 1 << 29

_KINDS = {
  stat.S_IFDIR: 'a folder',
  stat.S_IFIFO: 'a FIFO',
  stat.S_IFCHR: 'a device',
  stat.S_IFBLK: 'a device',
  stat.S_IFSOCK: 'a socket',
}


class SpecialFile(ValueError):
  """What a path leads to is no regular file."""


class LargeFile(ValueError):
  """A file is larger than it may be."""


def read(path: pathlib.Path | str, most: int = MAX_BYTES) -> bytes:
  """All bytes of a file.

  Args:
    path: of the file.
    most: bytes that it may have.

  Raises:
    OSError: there is no such file, or it cannot be read.
    SpecialFile: it is a folder, a FIFO, a device or a socket.
    LargeFile: it has more than `most` bytes.
  """
  with open_regular(path) as file:
    size = file.seek(0, os.SEEK_END)
    if size > most:
      raise LargeFile(f'{path} has {size} bytes; expected at most {most}')
    file.seek(0)
    return file.read(most)


def open_regular(path: pathlib.Path | str) -> BinaryIO:
  """Opens a file to read.

  Raises:
    OSError: there is no such file, or it cannot be read.
    SpecialFile: it is a folder, a FIFO, a device or a socket.
  """
  if paths.in_bucket(path):
    return _open_object(paths.parse(path))
  # Opening a FIFO would else wait for somebody who writes.
  descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
  status = os.fstat(descriptor)
  if not stat.S_ISREG(status.st_mode):
    os.close(descriptor)
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), 'something else')
    raise SpecialFile(f'{path} is {kind}, not a file')
  return open(descriptor, 'rb')


def _open_object(path: pathlib.Path) -> BinaryIO:
  try:
    return cast(BinaryIO, path.open('rb'))
  except (FileNotFoundError, PermissionError) as e:  # they have no number
    code = errno.ENOENT if isinstance(e, FileNotFoundError) else errno.EACCES
    raise OSError(code, os.strerror(code), str(path)) from e

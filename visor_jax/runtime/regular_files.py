"""Files of strangers, read in bounded time and memory."""

import os
import pathlib
import stat
from typing import BinaryIO

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
    size = os.fstat(file.fileno()).st_size
    if size > most:
      raise LargeFile(f'{path} has {size} bytes; expected at most {most}')
    return file.read(most)


def open_regular(path: pathlib.Path | str) -> BinaryIO:
  """Opens a file to read.

  Raises:
    OSError: there is no such file, or it cannot be read.
    SpecialFile: it is a folder, a FIFO, a device or a socket.
  """
  # Opening a FIFO would else wait for somebody who writes.
  descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
  status = os.fstat(descriptor)
  if not stat.S_ISREG(status.st_mode):
    os.close(descriptor)
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), 'something else')
    raise SpecialFile(f'{path} is {kind}, not a file')
  return open(descriptor, 'rb')

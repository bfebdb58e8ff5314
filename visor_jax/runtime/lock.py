"""One holder of a file at a time, also on file systems that have no locks."""

from collections.abc import Iterator
import contextlib
import errno
import fcntl
import os
import pathlib
import threading
import time

from visor_jax.runtime import console
from visor_jax.runtime import retry

BEAT = 10.0  # seconds between signs of life, where there are no locks
_POLL = 1.0  # second between two looks at a lock

# Of flock on NFS without a lock server, on Lustre without -o flock, on FUSE.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


class HeldError(Exception):
  """Another process holds the file; the text is what it wrote there."""


@contextlib.contextmanager
def hold(
  path: pathlib.Path | str, owner: str, timeout: float = 0
) -> Iterator[None]:
  """Holds a file while the context lasts, and writes who does.

  The lock is the kernel's: it goes with the process, however that ends. Where
  there is none, the holder's signs of life stand for it; they end with it, too,
  but it takes a while to be sure.

  Args:
    path: the file; made if it is not there.
    owner: what to write, unlike that of any other.
    timeout: seconds to wait for another to let go.

  Raises:
    HeldError: it did not.
  """
  path = pathlib.Path(path)
  with retry.retry(f'opening {path}', lambda: open(path, 'a+')) as file:
    try:
      _lock(file.fileno(), path, time.monotonic() + timeout)
      beats = False
    except OSError as e:
      if e.errno not in _NO_LOCKS:
        raise
      console.log(
        f'{path}: this file system has no locks ({e.strerror}); looking for '
        f'{3 * BEAT:g} s whether another run shows signs of life'
      )
      _watch(path, time.monotonic() + timeout)
      beats = True
    file.truncate(0)
    file.write(owner)
    file.flush()
    os.fsync(file.fileno())  # a server of files must have it
    if not beats:
      yield
      return
    with _beating(path, owner):
      yield


def _lock(descriptor: int, path: pathlib.Path, deadline: float) -> None:
  while True:
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
      return
    except BlockingIOError:
      if time.monotonic() >= deadline:
        raise HeldError(path.read_text().strip()) from None
    time.sleep(_POLL)


def _watch(path: pathlib.Path, deadline: float) -> None:
  """Returns when the file has shown no sign of life for three beats."""
  last, since = _sign(path), time.monotonic()
  while time.monotonic() < since + 3 * BEAT:
    time.sleep(min(_POLL, BEAT))
    sign = _sign(path)
    if sign != last:
      if time.monotonic() >= deadline:
        raise HeldError(path.read_text().strip())
      last, since = sign, time.monotonic()


def _sign(path: pathlib.Path) -> tuple[int, str]:
  return path.stat().st_mtime_ns, path.read_text()


@contextlib.contextmanager
def _beating(path: pathlib.Path, owner: str) -> Iterator[None]:
  """Shows signs of life while the context lasts."""
  time.sleep(min(_POLL, BEAT))
  if path.read_text() != owner:  # another came in the same moment
    raise HeldError(path.read_text().strip())
  ended = threading.Event()

  def beat() -> None:
    while not ended.wait(BEAT):
      with contextlib.suppress(OSError):  # it may be better at the next beat
        os.utime(path)

  thread = threading.Thread(target=beat, daemon=True)
  thread.start()
  try:
    yield
  finally:
    ended.set()
    thread.join()

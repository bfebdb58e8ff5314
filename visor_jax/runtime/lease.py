"""One holder of a file in a bucket at a time, where there are no locks.

Beside the file lie leases, FILE.1, FILE.2 and so on; the last one holds. The
store itself makes one only where there is none of its name, so of two that want
the next one gets it. Its holder shows signs of life in it, and ends when it
cannot: where none have been seen for a while, the next lease may be made.
"""

from collections.abc import Iterator
import contextlib
import itertools
import os
import pathlib
import sys
import threading
import time

from visor_jax.runtime import console
from visor_jax.runtime import errors
from visor_jax.runtime import files
from visor_jax.runtime import lock
from visor_jax.runtime import paths
from visor_jax.runtime import retry

BEAT = 10.0  # seconds between signs of life
SILENT = 60.0  # seconds without one, after which a lease is over
_POLL = 1.0  # second between two looks at a lease
_FREE = 'free'  # what a holder leaves that ended well
_DIED = 70  # as command.DIED


@contextlib.contextmanager
def hold(path: pathlib.Path, owner: str, timeout: float = 0) -> Iterator[None]:
  """Holds a file while the context lasts, and writes who does.

  A holder that was killed holds it for SILENT seconds more.

  Args:
    path: the file, in a bucket.
    owner: what to write, unlike that of any other.
    timeout: seconds to wait for another to let go.

  Raises:
    lock.HeldError: it did not.
    Refusal: there is no such bucket, or it may not be written.
  """
  try:
    number = _acquire(path, owner, time.monotonic() + timeout)
  except (FileNotFoundError, PermissionError) as e:
    raise errors.Refusal(
      f'{path.parent} cannot be written: {e}; expected a bucket that is there '
      'and lets this account write'
    ) from e
  files.write_atomic(path, owner)
  try:
    with _beating(path, number, owner):
      yield
  finally:
    with contextlib.suppress(Exception):  # it is over by itself in a while
      files.write_atomic(_lease(path, number), _FREE)


def _acquire(path: pathlib.Path, owner: str, deadline: float) -> int:
  """The number of a lease that is this process's."""
  while True:
    numbers = _numbers(path)
    if numbers:
      _watch(_lease(path, numbers[-1]), deadline)
    number = max(numbers, default=0) + 1
    if _make(_lease(path, number), owner):
      break
  for old in numbers:
    _lease(path, old).unlink(missing_ok=True)
  return number


def _lease(path: pathlib.Path, number: int) -> pathlib.Path:
  return path.with_name(f'{path.name}.{number}')


def _numbers(path: pathlib.Path) -> list[int]:
  """Of the leases that there are, the holder's last."""
  names = retry.retry(
    f'listing {path.parent}',
    lambda: [lease.name for lease in path.parent.glob(f'{path.name}.*')],
  )
  ends = (name.rpartition('.')[2] for name in names)
  return sorted(int(end) for end in ends if end.isdecimal())


def _make(lease: pathlib.Path, owner: str) -> bool:
  """Makes a lease; whether nobody else had."""
  text = _sign(owner, 0).encode()
  try:
    paths.store(lease).pipe_file(str(lease), text, mode='create')
  except FileExistsError:
    return False
  return True


def _sign(owner: str, beat: int) -> str:
  return f'{owner}, beat {beat}'


def _watch(lease: pathlib.Path, deadline: float) -> None:
  """Returns when a lease was let go, or has shown no sign of life for long.

  Raises:
    lock.HeldError: it shows signs of life, and it is late.
  """
  last, since, signs = _read(lease), time.monotonic(), 0
  if last != _FREE:
    console.log(
      f'{lease}: looking for {SILENT:g} s at most whether another run shows '
      'signs of life'
    )
  while last != _FREE and time.monotonic() < since + SILENT:
    time.sleep(_POLL)
    sign = _read(lease)
    if sign == last:
      continue
    last, since, signs = sign, time.monotonic(), signs + 1
    # One may have been on its way when its holder was killed.
    if signs > 1 and sign != _FREE and time.monotonic() >= deadline:
      raise lock.HeldError(sign.rpartition(', ')[0])


def _read(lease: pathlib.Path) -> str:
  """What a lease says; one that a later holder took away says it is free."""
  try:
    return retry.retry(f'reading {lease}', lease.read_text)
  except FileNotFoundError:
    return _FREE


@contextlib.contextmanager
def _beating(path: pathlib.Path, number: int, owner: str) -> Iterator[None]:
  """Shows signs of life while the context lasts."""
  ended = threading.Event()

  def beat() -> None:
    last = time.monotonic()
    for count in itertools.count(1):
      if ended.wait(BEAT):
        return
      try:
        if max(_numbers(path)) > number:
          return _leave(f'{path} was taken by another run')
        _lease(path, number).write_text(_sign(owner, count))
        last = time.monotonic()
      except Exception as e:  # it may be better at the next beat
        if time.monotonic() > last + SILENT:
          return _leave(f'{path} cannot be held: {e}')

  thread = threading.Thread(target=beat, daemon=True)
  thread.start()
  try:
    yield
  finally:
    ended.set()
    thread.join()


def _leave(why: str) -> None:
  """Ends this process before it writes into what may be another's."""
  print(f'error: {why}; leaving', file=sys.stderr, flush=True)
  os._exit(_DIED)

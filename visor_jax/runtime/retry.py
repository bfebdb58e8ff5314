"""Once more, where what failed may pass: a server of files that restarts."""

from collections.abc import Callable
import errno
import time
from typing import TypeVar

from visor_jax.runtime import console
from visor_jax.runtime import errors

WAITS = (2.0, 8.0)  # seconds before the second and the third try

# Of a disk, a server of files or a network; all others are those of a path.
PASSING = frozenset(
  getattr(errno, name)
  for name in (
    'EAGAIN EBUSY ECONNABORTED ECONNREFUSED ECONNRESET EDQUOT EHOSTDOWN '
    'EHOSTUNREACH EINTR EIO EMFILE ENETDOWN ENETUNREACH ENFILE ENOBUFS ENOLINK '
    'ENOMEM ENOSPC ENOTCONN EPIPE EREMOTEIO ESHUTDOWN ESTALE ETIMEDOUT'
  ).split()
  if hasattr(errno, name)
)

# Libraries that speak to buckets. They try again by themselves, and what they
# say then is of a network, or of a store.
_CLIENTS = ('aiobotocore', 'aiohttp', 'botocore', 'gcsfs', 'google')

T = TypeVar('T')


def passing(error: BaseException) -> bool:
  """Whether trying again may help."""
  if isinstance(error, OSError):
    return error.errno in PASSING or isinstance(error, TimeoutError)
  return isinstance(error, errors.Passing) or of_client(error)


def retry(what: str, act: Callable[[], T]) -> T:
  """`act()`, and again after a while where that may help.

  Args:
    what: the act, for the console.
    act: what may be done twice.

  Raises:
    OSError: of the last try, or one that will not pass; likewise Passing.
  """
  for seconds in WAITS:
    try:
      return _act(what, act)
    except (OSError, errors.Passing) as e:
      if not passing(e):
        raise
      console.log(f'{what}: {e}; trying again in {seconds:g} s')
    time.sleep(seconds)
  return _act(what, act)


def of_client(error: BaseException) -> bool:
  """Whether it is of a library that speaks to buckets."""
  return type(error).__module__.startswith(_CLIENTS)


def _act(what: str, act: Callable[[], T]) -> T:
  try:
    return act()
  except Exception as e:
    if isinstance(e, OSError) or not of_client(e):
      raise
    raise errors.Passing(f'{what}: {e}') from e

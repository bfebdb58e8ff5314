"""Two ways to stop: what was asked cannot be, or it may go better next time.

Launchers know them apart by their exit codes, see command.py. Whatever else is
raised counts as the second: a library's error, a full disk, a bug.
"""

from collections.abc import Iterator
import contextlib

# What an operating system says of a path that was named wrongly. Other errors
# of its are those of a disk, a server or a network.
WRONG_PATHS = (
  FileNotFoundError,
  FileExistsError,
  IsADirectoryError,
  NotADirectoryError,
  PermissionError,
)


class Refusal(ValueError):
  """What was asked for cannot be; trying again would change nothing.

  Its text names what was given, what was expected, and what to change.
  """


class Passing(RuntimeError):
  """What surrounds the run failed; trying again may go better."""


@contextlib.contextmanager
def refusals() -> Iterator[None]:
  """Where all that is done is to check what was given; also a decorator.

  A ValueError in here is a refusal, and so is a path that is not there or may
  not be read, unless a disk or a network is behind it.

  Raises:
    Refusal: in place of these.
  """
  try:
    yield
  except (ValueError, *WRONG_PATHS) as e:
    if isinstance(e, Refusal) or _environment(e):
      raise
    raise Refusal(str(e) or repr(e)) from e


def _environment(error: BaseException | None) -> bool:
  """Whether an error goes back to one of the operating system."""
  while error is not None:
    if isinstance(error, OSError) and not isinstance(error, WRONG_PATHS):
      return True
    error = error.__cause__ or error.__context__
  return False

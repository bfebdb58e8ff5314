"""Progress and time: what a person reads while a run runs."""

from collections.abc import Iterator
import contextlib
import threading
import time

_muted = False


def mute() -> None:
  """Prints nothing from now on: another process does it for all."""
  global _muted
  _muted = True


def muted() -> bool:
  """Whether another process prints for all."""
  return _muted


def duration(seconds: float) -> str:
  """'42s', '3m05s' or '2h07m'."""
  seconds = int(seconds)
  if seconds < 60:
    return f'{seconds}s'
  if seconds < 3600:
    return f'{seconds // 60}m{seconds % 60:02d}s'
  return f'{seconds // 3600}h{seconds // 60 % 60:02d}m'


def log(text: str) -> None:
  """A line on the console, at once; a console that fails ends no run."""
  if not _muted:
    with contextlib.suppress(OSError):
      print(f'[{time.strftime("%H:%M:%S")}] {printable(text)}', flush=True)


@contextlib.contextmanager
def heartbeat(what: str, every: float = 10.0) -> Iterator[None]:
  """Says what is done, and in here again and again how long it has taken.

  Args:
    what: is done.
    every: so many seconds.
  """
  log(what)
  began, over = time.monotonic(), threading.Event()

  def beat() -> None:
    while not over.wait(every):
      log(f'{what}, {duration(time.monotonic() - began)}')

  threading.Thread(target=beat, daemon=True).start()
  try:
    yield
  finally:
    over.set()


def printable(text: str) -> str:
  """A text whose every letter can be printed: names of files may be any bytes.

  Args:
    text: with lone surrogates for bytes that are no UTF-8, as of os.listdir.
  """
  return text.encode('utf-8', 'backslashreplace').decode('utf-8')


class Progress:
  """Lines with the share done, the pace and the time left.

  The pace counts from the first line on: what came before it was compiling.

  Attributes:
    what: name of the work.
    total: units of it.
  """

  def __init__(self, what: str, total: int):
    self.what = what
    self.total = total
    self._first: tuple[int, float] | None = None  # (done, time) of a line

  def line(self, done: int, **numbers: float | str) -> None:
    """Prints how far it is.

    Args:
      done: units so far, those before a resume included.
      **numbers: what else to print, by name.
    """
    now = time.monotonic()
    if self._first is None:
      self._first = done, now
    first_done, first_time = self._first
    pace = (done - first_done) / max(now - first_time, 1e-9)
    text = '  '.join(
      f'{name} {value:.4g}' if isinstance(value, float) else f'{name} {value}'
      for name, value in numbers.items()
    )
    if pace:
      per_second = f'{pace:.3g}' if pace < 1000 else f'{pace:.0f}'
      left = duration((self.total - done) / pace)
      text += f'  {per_second}/s  ETA {left}'
    log(f'{self.what} {done}/{self.total}  {text}')

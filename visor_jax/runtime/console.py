"""Metrics, progress and time: what a person reads while a run runs."""

import time

_muted = False


def mute() -> None:
  """Says and logs nothing from now on: another process does it for all."""
  global _muted
  _muted = True


def muted() -> bool:
  """Another process says and logs for all."""
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
  """A line on the console, at once."""
  if not _muted:
    print(f'[{time.strftime("%H:%M:%S")}] {text}', flush=True)


class Progress:
  """Lines with the share done, the pace and the time left.

  The pace counts from the first line on: what came before it was compiling.
  """

  def __init__(self, what: str, total: int):
    self.what, self.total, self._first = what, total, None

  def line(self, done: int, **numbers) -> None:
    """Says how far it is."""
    now = time.monotonic()
    if self._first is None:
      self._first = done, now
    pace = (done - self._first[0]) / max(now - self._first[1], 1e-9)
    text = '  '.join(
      f'{k} {v:.4g}' if isinstance(v, float) else f'{k} {v}'
      for k, v in numbers.items()
    )
    if pace:
      shown = f'{pace:.3g}' if pace < 1000 else f'{pace:.0f}'
      text += f'  {shown}/s  ETA {duration((self.total - done) / pace)}'
    log(f'{self.what} {done}/{self.total}  {text}')

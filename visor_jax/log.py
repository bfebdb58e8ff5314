"""Metrics, progress and time: what a person reads while a run runs."""

import json
import os
import pathlib
import time


def duration(seconds: float) -> str:
  """'42s', '3m05s' or '2h07m'."""
  seconds = int(seconds)
  if seconds < 60:
    return f'{seconds}s'
  if seconds < 3600:
    return f'{seconds // 60}m{seconds % 60:02d}s'
  return f'{seconds // 3600}h{seconds // 60 % 60:02d}m'


def say(text: str) -> None:
  """A line on the console, at once."""
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
        for k, v in numbers.items())
    if pace:
      text += f'  {pace:.3g}/s  ETA {duration((self.total - done) / pace)}'
    say(f'{self.what} {done}/{self.total}  {text}')


class Metrics:
  """metrics.jsonl of a stage: a row per logged step, none twice.

  Args:
    path: of the file.
    step: rows after this step are of a run that was cut off; they go.
  """

  def __init__(self, path, step: int = 0):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [r for r in read_jsonl(path) if r['step'] <= step]
    write_atomic(path, ''.join(json.dumps(r) + '\n' for r in rows))
    self._file = open(path, 'a')

  def __enter__(self):
    return self

  def __exit__(self, *exc):
    self._file.close()

  def write(self, row: dict) -> None:
    self._file.write(json.dumps(row) + '\n')
    self._file.flush()


def read_jsonl(path) -> list[dict]:
  """Whole rows of a file; a last line cut off by a crash is left out."""
  path = pathlib.Path(path)
  if not path.exists():
    return []
  lines = path.read_text().split('\n')
  return [json.loads(line) for line in lines[:-1] if line]


def write_atomic(path, text: str) -> None:
  """Writes a file that is seen whole or not at all, crash or full disk."""
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(path.name + '.part')
  with open(part, 'w') as f:
    f.write(text)
    f.flush()
    os.fsync(f.fileno())
  os.replace(part, path)

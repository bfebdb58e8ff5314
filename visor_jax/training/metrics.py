"""What a stage writes down as it trains: metrics, skipped steps, waiting."""

import concurrent.futures
import json
import os
import pathlib
import time

from visor_jax.runtime import console
from visor_jax.runtime import files


class Metrics:
  """metrics.jsonl of a stage: a row per logged step, none twice.

  Args:
    path: of the file.
    step: rows after this step are of a run that was cut off; they go.
    tensorboard: a folder, to write the numbers for TensorBoard too.

  Raises:
    ValueError: tensorboardX is not installed.
  """

  def __init__(self, path, step: int = 0, tensorboard=None):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    self._board = None
    if console.muted():
      self._file = open(os.devnull, 'a')
      return
    if tensorboard:
      self._board = _board(tensorboard, step)
    rows = [r for r in files.read_jsonl(path) if r['step'] <= step]
    files.write_atomic(path, ''.join(json.dumps(r) + '\n' for r in rows))
    self._file = open(path, 'a')

  def __enter__(self):
    return self

  def __exit__(self, *exc):
    self._file.close()
    if self._board:
      self._board.close()

  def write(self, row: dict) -> None:
    self._file.write(json.dumps(row) + '\n')
    self._file.flush()
    if self._board:
      for name, value in row.items():
        if name != 'step':
          self._board.add_scalar(name, value, row['step'])
      self._board.flush()


def _board(folder, step):
  """A writer whose later steps, of a run that was cut off, are not shown."""
  try:
    import tensorboardX
  except ImportError:
    raise ValueError(
      "log.tensorboard needs tensorboardX: pip install 'visor_jax[tensorboard]'"
    ) from None
  return tensorboardX.SummaryWriter(
    str(folder), purge_step=step + 1, filename_suffix=f'.{step}'
  )


class NonFiniteSteps:
  """nonfinite.jsonl of a stage: the steps that were not applied.

  Batches do not carry the ids of their records, but a batch is a function of
  the numbers of its rows in the stage's stream (see loader.py), and those
  are written: {"step": s, "rows": [first, one past the last]}.

  Args:
    path: of the file.
    step: what was written of later ones is of a run that was cut off; it goes.
    batch: rows of a step.
    patience: so many in a row stop the run.
  """

  def __init__(self, path, step: int, batch: int, patience: int):
    self._path, self._batch, self._patience = path, batch, patience
    self._file = Metrics(path, step)
    self._new, self._count, self._streak, self._stop = [], 0, 0, None

  def __enter__(self):
    return self

  def __exit__(self, *exc):
    self._look()
    self._file.__exit__(*exc)

  def add(self, step: int, skipped) -> None:
    """Keeps the word of a device on a step, without waiting for it."""
    self._new.append((step, skipped))

  def take(self) -> int:
    """How many since this was last asked."""
    self._look()
    count, self._count = self._count, 0
    return count

  def check(self) -> None:
    """Stops a run that goes nowhere.

    Raises:
      ValueError: there were `patience` in a row.
    """
    self._look()
    if self._stop:
      raise ValueError(
        f'{self._patience} steps in a row up to step {self._stop} had a loss '
        f'or gradient that is not finite; none was applied. Their rows are '
        f'in {self._path}: look at them, lower the learning rate, or raise '
        'optim.max_nonfinite_steps'
      )

  def _look(self):
    for step, skipped in self._new:
      self._streak = self._streak + 1 if skipped else 0
      if self._streak == self._patience:
        self._stop = step
      if skipped:
        self._count += 1
        self._file.write(
          {'step': step, 'rows': [(step - 1) * self._batch, step * self._batch]}
        )
    self._new = []


class InputWaitMeter:
  """Share of the time in which a device has nothing to do but wait for input.

  Batches are taken while the device is at work, so what the loop waits for
  them is not what the device waits: that begins when its work is done.
  """

  def __init__(self):
    self._pool = concurrent.futures.ThreadPoolExecutor(1)
    self._done, self._waited, self._since = None, 0.0, time.monotonic()

  def __enter__(self):
    return self

  def __exit__(self, *exc):
    self._pool.shutdown()

  def busy(self, block) -> None:
    """The device is at work until `block()` returns."""
    self._done = self._pool.submit(lambda: (block(), time.monotonic())[1])

  def batches(self, batches):
    """Passes batches on."""
    asked = time.monotonic()
    for batch in batches:
      now = time.monotonic()
      if self._done and self._done.done():
        self._waited += now - max(asked, self._done.result())
      yield batch
      asked = time.monotonic()

  def share(self) -> float:
    """Of the time since this was last asked."""
    now = time.monotonic()
    share = self._waited / max(now - self._since, 1e-9)
    self._waited, self._since = 0.0, now
    return share

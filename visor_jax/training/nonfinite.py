"""Steps that were not applied, because their loss or gradient is not finite."""

from collections.abc import Callable
from collections.abc import Sequence
import pathlib
from typing import Self

import jax

from visor_jax.runtime import console
from visor_jax.runtime import errors
from visor_jax.training import metrics


class NonFiniteSteps:
  """nonfinite.jsonl of a stage: the steps that were not applied.

  A line has the numbers of its rows in the stage's stream (see
  data/pipeline/loader.py) and the records behind each: {"step": s, "rows":
  [first, one past the last], "records": [[id, ...], ...]}.

  Args:
    path: of the file.
    step: what was written of later ones is of a run that was cut off; it goes.
    batch: rows of a step.
    record_ids: number of a row -> what names the records behind it.
    patience: so many in a row stop the run.
  """

  def __init__(
    self,
    path: pathlib.Path | str,
    step: int,
    batch: int,
    record_ids: Callable[[int], Sequence[str]],
    patience: int,
  ):
    self._path, self._batch, self._patience = path, batch, patience
    self._record_ids = record_ids
    self._file = None if console.muted() else metrics.JsonLines(path, step)
    # Steps of which the device has not been asked yet.
    self._pending: list[tuple[int, jax.Array | bool]] = []
    self._count = 0  # since `take`
    self._streak = 0  # up to now
    self._gave_up: int | None = None  # the step at which it was too long

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exc: object) -> None:
    self._read()
    if self._file:
      self._file.close()

  def add(self, step: int, skipped: jax.Array | bool) -> None:
    """Keeps a device's flag of a step, without waiting for it."""
    self._pending.append((step, skipped))

  def take(self) -> int:
    """How many since this was last asked."""
    self._read()
    count, self._count = self._count, 0
    return count

  def check(self) -> None:
    """Stops a run that goes nowhere.

    Raises:
      ValueError: there were `patience` in a row.
    """
    self._read()
    if self._gave_up is not None:
      raise errors.Refusal(
        f'{self._patience} steps in a row up to step {self._gave_up} had a '
        'loss or gradient that is not finite; none was applied. Their records '
        f'are in {self._path}: look at them, lower the learning rate, or raise '
        'optim.max_nonfinite_steps'
      )

  def _read(self) -> None:
    """Waits for the devices' flags."""
    for step, skipped in self._pending:
      self._streak = self._streak + 1 if skipped else 0
      if self._streak == self._patience:
        self._gave_up = step
      if skipped:
        self._count += 1
        self._write(step)
    self._pending = []

  def _write(self, step: int) -> None:
    if self._file:
      first, stop = (step - 1) * self._batch, step * self._batch
      ids = [[*self._record_ids(row)] for row in range(first, stop)]
      self._file.write(step, {'rows': [first, stop], 'records': ids})

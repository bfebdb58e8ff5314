"""A profiler trace of some steps."""

from collections.abc import Callable
from collections.abc import Sequence
import pathlib
from typing import Self

import jax


class Trace:
  """A profiler trace of some steps, for TensorBoard, xprof or Perfetto.

  Args:
    folder: to write into.
    steps: (first, last) of those to trace, counted from 0; () for none.
  """

  def __init__(self, folder: pathlib.Path | str, steps: Sequence[int] = ()):
    self._folder = folder
    self._steps = tuple(steps)  # () as soon as nothing is left to do
    self._on = False

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exc: object) -> None:
    self._stop()

  def step(self, number: int, block: Callable[[], object]) -> None:
    """Before each step; `block()` returns when those before it are done."""
    if not self._steps:
      return
    first, last = self._steps
    if self._on and number > last:
      block()
      self._stop()
    elif not self._on and first <= number <= last:
      block()
      jax.profiler.start_trace(self._folder)
      self._on = True

  def _stop(self) -> None:
    if self._on:
      jax.profiler.stop_trace()
      self._on, self._steps = False, ()

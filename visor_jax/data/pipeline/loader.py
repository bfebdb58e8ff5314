"""Batches by step: step i is a pure function of i, on any number of hosts.

`load(index)` makes one row of the endless stream of rows; step i of a run with
a global batch of n takes rows i * n .. (i + 1) * n, and each process those of
them that its devices hold. There is no state to save.

Rows come from a protocols.Suite.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import grain
import numpy as np

from visor_jax.data import protocols
from visor_jax.data.pipeline import order
from visor_jax.data.processing import packing


def batches(
  load: protocols.Load,
  batch_size: int,
  start: int,
  stop: int,
  *,
  local_rows: Sequence[int] | None = None,
  threads: int = 1,
  prefetch: int = 4,
  stack: Callable[[Sequence[Any]], Any] = packing.stack,
) -> Iterator[tuple[Any, np.ndarray | None]]:
  """The batches of steps start..stop, prepared ahead, in order.

  Args:
    load: number of a row -> the row, and an extra array or None.
    batch_size: rows of the global batch.
    start: first step.
    stop: one past the last.
    local_rows: those of 0 .. batch_size that this process holds; None for all.
    threads: how many prepare batches.
    prefetch: batches prepared ahead.
    stack: makes a batch of rows, by default a Batch.

  Yields:
    (batch, extra), this process's rows; extra is stacked or None.
  """
  local_rows = range(batch_size) if local_rows is None else local_rows

  def load_batch(step: int) -> tuple[Any, np.ndarray | None]:
    loaded = [load(step * batch_size + i) for i in local_rows]
    batch = stack([row for row, _ in loaded])
    extra = [array for _, array in loaded if array is not None]
    return batch, np.stack(extra) if extra else None

  steps = grain.MapDataset.range(start, stop).map(load_batch)
  return iter(
    steps.to_iter_dataset(
      grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
    )
  )


def labelled(
  read: Callable[[int], protocols.Row],
  labels: Sequence[tuple[int, np.ndarray]],
  seed: int,
) -> protocols.Load:
  """A `load` of questions with their labels, reshuffled each epoch.

  Args:
    read: index of a question -> what is learned from of it.
    labels: [(index of the question, label), ...], arrays of one shape.
    seed: decides the order.
  """

  def load(number: int) -> tuple[protocols.Row, np.ndarray]:
    index, label = label_of(number, labels, seed)
    return read(index), label

  return load


def label_of(
  number: int, labels: Sequence[tuple[int, np.ndarray]], seed: int
) -> tuple[int, np.ndarray]:
  """(question, label) of a row of `labelled`, which has the arguments."""
  epoch, at = divmod(number, len(labels))
  return labels[order.shuffled(at, len(labels), f'labels/{seed}/{epoch}')]

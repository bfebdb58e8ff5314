"""Batches by step: step i is a pure function of i, on any number of hosts.

`load(index)` makes one row of the endless stream of rows; step i of a run with
a global batch of n takes rows i * n .. (i + 1) * n, and process p of q the
p-th of q equal parts of them. There is no state to save.
"""

import grain
import numpy as np

from visor_jax.data import chat
from visor_jax.data import order
from visor_jax.data import packing


def batches(load, rows: int, start: int, stop: int, *, process: int = 0,
            processes: int = 1, threads: int = 1, ahead: int = 4):
  """The batches of steps start..stop, prepared ahead, in order.

  Args:
    load: index -> (fields of a Batch's row, extra array or None).
    rows: of the global batch.
    start: first step.
    stop: one past the last.
    process: which process this is.
    processes: how many there are.
    threads: that prepare batches.
    ahead: batches prepared ahead.

  Yields:
    (Batch, extra), this process's rows; extra is stacked or None.

  Raises:
    ValueError: rows do not divide by processes.
  """
  if rows % processes:
    raise ValueError(
        f'a batch of {rows} rows does not divide by {processes} processes')
  own = rows // processes

  def one(step):
    first = step * rows + process * own
    parts = [load(i) for i in range(first, first + own)]
    extra = [e for _, e in parts]
    return (packing.stack([r for r, _ in parts]),
            None if extra[0] is None else np.stack(extra))

  steps = grain.MapDataset.range(start, stop).map(one)
  return iter(steps.to_iter_dataset(grain.ReadOptions(
      num_threads=threads, prefetch_buffer_size=ahead)))


def training(suite, stream: str):
  """A `load` of whole conversations.

  Args:
    suite: a digits.Suite or its like.
    stream: names an endless stream of its records.
  """
  shape = suite.shape(suite.turns)

  def load(index):
    record = suite.conversation(stream, index)
    talk = chat.conversation(record, suite.words)
    return _row(suite, record, talk, shape), None

  return load


def question(suite, stream: str, index: int):
  """One question alone.

  Returns:
    (fields of a Batch's row, its chat.Record).
  """
  record = suite.question(stream, index)
  talk = chat.prompt(record, suite.words)
  return _row(suite, record, talk, suite.shape(1)), record


def _row(suite, record, talk, shape):
  tiles = suite.tiles(record.images)
  return packing.row([packing.segment(talk, tiles, shape.patches)], shape)


def labelled(suite, stream: str, labels, seed: int):
  """A `load` of questions with the label of their plan, reshuffled each epoch.

  Args:
    suite: a digits.Suite or its like.
    stream: of the questions.
    labels: [(index of the question, label), ...].
    seed: of the order.
  """
  def load(index):
    epoch, at = divmod(index, len(labels))
    number, label = labels[order.shuffled(
        at, len(labels), f'labels/{seed}/{epoch}')]
    row, _ = question(suite, stream, number)
    return row, np.array([label], np.int32)

  return load

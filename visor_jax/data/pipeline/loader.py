"""Batches by step: step i is a pure function of i, on any number of hosts.

`load(index)` makes one row of the endless stream of rows; step i of a run with
a global batch of n takes rows i * n .. (i + 1) * n, and each process those of
them that its devices hold. There is no state to save.

Rows come from a suite, digits.Suite or corpus.Corpus, which has
  training(stream) -> load of rows to learn from;
  prompt(stream, index) -> (fields of a row with one question, its record);
  decode(tokens), ends, answer_tokens: how answers are read and end;
  group(family) -> 'coarse' or 'fine';
  packed: training rows may hold several conversations;
  fingerprints: {source: what changes when its data does};
  counts: {'bad': n, ...}, the records that were not used as they are.
"""

import grain
import numpy as np

from visor_jax.data.pipeline import order
from visor_jax.data.processing import packing


def batches(
  load,
  rows: int,
  start: int,
  stop: int,
  *,
  own=None,
  threads: int = 1,
  ahead: int = 4,
):
  """The batches of steps start..stop, prepared ahead, in order.

  Args:
    load: index -> (fields of a Batch's row, extra array or None).
    rows: of the global batch.
    start: first step.
    stop: one past the last.
    own: of 0 .. rows, those that this process holds; None for all.
    threads: that prepare batches.
    ahead: batches prepared ahead.

  Yields:
    (Batch, extra), this process's rows; extra is stacked or None.
  """
  own = range(rows) if own is None else own

  def one(step):
    parts = [load(step * rows + i) for i in own]
    extra = [e for _, e in parts]
    return (
      packing.stack([r for r, _ in parts]),
      None if extra[0] is None else np.stack(extra),
    )

  steps = grain.MapDataset.range(start, stop).map(one)
  return iter(
    steps.to_iter_dataset(
      grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    )
  )


def labelled(suite, stream: str, labels, seed: int):
  """A `load` of questions with the label of their plan, reshuffled each epoch.

  Args:
    suite: whose questions they are.
    stream: of them.
    labels: [(index of the question, label), ...].
    seed: of the order.
  """

  def load(index):
    epoch, at = divmod(index, len(labels))
    number, label = labels[
      order.shuffled(at, len(labels), f'labels/{seed}/{epoch}')
    ]
    row, _ = suite.prompt(stream, number)
    return row, np.array([label], np.int32)

  return load

"""Step i is a function of i: on any hosts, with any threads, from any start."""

import numpy as np
import pytest

from visor_jax.data.pipeline import loader
from visor_jax.data.suites import digits
from visor_jax.spec import batch as batch_lib

SUITE = digits.Suite(5)


def number(index):
  """A load whose rows say their index."""
  return {k: np.array([index]) for k in batch_lib.NAMES}, None


def stream(load=number, rows=8, start=0, stop=6, **kwargs):
  """Row indices of every step."""
  return [
    batch.tokens[:, 0].tolist()
    for batch, _ in loader.batches(load, rows, start, stop, **kwargs)
  ]


ALL_STEPS = [list(range(8 * i, 8 * i + 8)) for i in range(6)]


@pytest.mark.parametrize('processes', [1, 2, 4])
@pytest.mark.parametrize('threads,prefetch', [(1, 1), (4, 8)])
def test_the_stream_does_not_know_the_number_of_hosts(
  processes, threads, prefetch
):
  """A pod that shrinks between two starts must see the same batches."""
  each = 8 // processes
  parts = [
    stream(local_rows=range(p, p + each), threads=threads, prefetch=prefetch)
    for p in range(0, 8, each)
  ]
  assert [sum(step, []) for step in zip(*parts)] == ALL_STEPS


@pytest.mark.parametrize('start', [0, 1, 5, 6])
def test_starting_later_is_skipping(start):
  """Resume has nothing to restore."""
  assert stream(start=start) == ALL_STEPS[start:]


def test_a_host_may_hold_rows_that_are_no_neighbours():
  """As on a TPU, whose mesh winds through the hosts."""
  assert stream(local_rows=[1, 2, 6], stop=2) == [[1, 2, 6], [9, 10, 14]]


def test_an_error_in_a_record_is_not_swallowed():
  def bad(index):
    if index == 20:
      raise ValueError('record 20 is broken')
    return number(index)

  with pytest.raises(ValueError, match='record 20 is broken'):
    stream(bad)


def test_training_rows_are_the_same_on_every_number_of_hosts():
  """The same with the real suite, in all fields."""
  load = SUITE.training('full')
  ((batch, extra),) = loader.batches(load, 4, 3, 4)
  halves = [
    next(loader.batches(load, 4, 3, 4, local_rows=rows))[0]
    for rows in ((0, 1), (2, 3))
  ]
  assert extra is None
  for name in batch_lib.NAMES:
    np.testing.assert_array_equal(
      getattr(batch, name),
      np.concatenate([getattr(h, name) for h in halves]),
      name,
    )
  assert batch.answer.any(1).all() and batch.tiles.any((1, 2, 3, 4)).all()


def test_a_question_gives_no_answer_away():
  row, record = SUITE.prompt('test', 3)
  (turn,) = record.turns
  real = row['tokens'][row['text_segment'] == 1]
  assert SUITE.words.decode(real[1:]) == turn.question
  assert not row['answer'].any()


# Labels of the policy stage ---------------------------------------------------

# Every label names its question.
LABELS = [(10 + 3 * i, np.array([i], np.int32)) for i in range(7)]


def prompt(index):
  row, _ = SUITE.prompt('label', index)
  return row


def epochs(count, seed=0, labels=LABELS):
  load = loader.labelled(prompt, labels, seed)
  return [
    [int(load(e * len(labels) + i)[1][0]) for i in range(len(labels))]
    for e in range(count)
  ]


def test_an_epoch_asks_every_question_once_in_an_order_of_its_own():
  """A question left out, or asked twice, would weigh plans wrongly."""
  orders = epochs(4)
  assert all(sorted(e) == list(range(7)) for e in orders)
  assert len({tuple(e) for e in orders}) == 4
  assert orders == epochs(4)
  assert orders[0] != epochs(1, seed=1)[0]


def test_a_label_stays_with_its_question():
  """Shuffled apart, the router would learn noise and nothing would fail."""
  load = loader.labelled(prompt, LABELS, 0)
  for (batch, extra), step in zip(loader.batches(load, 4, 2, 5), range(2, 5)):
    for i in range(4):
      want = prompt(10 + 3 * int(extra[i, 0]))
      for name in batch_lib.NAMES:
        np.testing.assert_array_equal(getattr(batch, name)[i], want[name])
    assert extra.shape == (4, 1) and extra.dtype == np.int32
    again = [load(4 * step + i)[1] for i in range(4)]
    np.testing.assert_array_equal(extra, again)


def test_a_single_label_is_asked_for_ever():
  """The smallest slice there can be."""
  assert epochs(3, labels=[(4, np.array([9]))]) == [[9]] * 3

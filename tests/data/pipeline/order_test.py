"""Draw k is a function of k: of no draw before, of no object, of no table."""

import concurrent.futures
import random
import time
import tracemalloc

import numpy as np
import pytest

from visor_jax.data.pipeline import order

SIZES, WEIGHTS = (300, 12, 40), (0.5, 0.1, 0.4)


def draws(count=2500, seed=3, sizes=SIZES, weights=WEIGHTS):
  stream = order.Order(seed, sizes, weights)
  return [stream.draw(k) for k in range(count)]


DRAWS = draws()


def test_draws_do_not_depend_on_what_was_asked_before():
  """A resumed run begins anywhere, threads ask in any order."""
  numbers = random.Random(0).sample(range(len(DRAWS)), 200)
  stream = order.Order(3, SIZES, WEIGHTS)
  assert [stream.draw(k) for k in numbers] == [DRAWS[k] for k in numbers]


@pytest.mark.parametrize('source', range(3))
def test_an_epoch_has_every_record_once_in_an_order_of_its_own(source):
  """Exactly: an epoch ends before the next one begins."""
  size = SIZES[source]
  mine = [d for d in DRAWS if d.source == source]
  epochs = [mine[i : i + size] for i in range(0, len(mine) - size + 1, size)]
  assert len(epochs) > 2
  for number, epoch in enumerate(epochs):
    assert {d.epoch for d in epoch} == {number}
    assert sorted(d.index for d in epoch) == list(range(size))
  orders = {tuple(d.index for d in epoch) for epoch in epochs}
  assert len(orders) == len(epochs) and tuple(range(size)) not in orders


def test_shares_hold_from_the_first_draws_on():
  """To a few draws, not to a percent: a rare source is never forgotten."""
  weights = 3, 1, 0.002, 5, 0.998
  count, stream = [0] * 5, order.Order(0, [10**7] * 5, weights)
  for k in range(100_000):
    count[stream.draw(k).source] += 1
    if k + 1 in (10, 1000, 12_345, 100_000):
      for number, weight in zip(count, weights):
        assert abs(number - weight / 10 * (k + 1)) < 3


def test_a_seed_changes_who_begins_and_the_order_of_records():
  begins = {tuple(d.source for d in draws(20, seed)) for seed in range(8)}
  assert len(begins) > 1
  same = [draws(40, seed, (500,), (1,)) for seed in range(4)]
  assert len({tuple(s) for s in same}) == 4


def test_sources_of_one_size_have_orders_of_their_own():
  """The same image in two sources would meet itself again and again."""
  pairs = draws(200, sizes=(500, 500), weights=(1, 1))
  one, two = ([d.index for d in pairs if d.source == s] for s in (0, 1))
  assert sum(a == b for a, b in zip(one, two)) < 10


@pytest.mark.parametrize('size', [1, 2, 2**16, 2**16 + 1, 70_000])
def test_any_number_of_records_is_shuffled(size):
  """A table gives the order of few, grain that of many, 4**8 + 1 among them."""
  indices = [d.index for d in draws(2 * size, 0, (size,), (1,))]
  assert sorted(indices[:size]) == sorted(indices[size:]) == list(range(size))
  assert size < 3 or indices[:size] != indices[size:]


@pytest.mark.parametrize('size', [1000, 10**6, 10**7])
def test_neighbours_in_the_stream_are_no_neighbours_in_the_data(size):
  """A shuffle of few rounds keeps the order of large data in part."""
  for seed in range(3):
    x = [d.index for d in draws(900, seed, (size,), (1,))]
    for apart in (1, 2, 8):  # of independent ones it is 0.03, now and then 0.1
      assert abs(np.corrcoef(x[:-apart], x[apart:])[0, 1]) < 0.13


def test_ten_million_records_cost_nothing():
  tracemalloc.start()
  begin = time.perf_counter()
  stream = order.Order(0, (10**7, 10**6), (0.9, 0.1))
  draw = stream.draw(10**12)
  assert time.perf_counter() - begin < 1
  assert tracemalloc.get_traced_memory()[1] < 100_000
  tracemalloc.stop()
  # Shares are whole 2**-32ths, so after 10**12 draws some hundreds are astray.
  assert abs(draw.epoch - (90_000, 100_000)[draw.source]) <= 1


@pytest.mark.parametrize(
  'sizes,weights,message',
  [
    ((), (), '0 sources and 0 weights'),
    ((3, 4), (1,), '2 sources and 1 weights'),
    ((3, 0), (1, 1), 'source 1 has 0 records'),
    ((3, 4), (0, 1), 'source 0 has weight 0'),
    ((3,), (float('nan'),), 'source 0 has weight nan'),
    ((3,), (float('inf'),), 'source 0 has weight inf'),
  ],
)
def test_what_cannot_be_mixed_is_an_error(sizes, weights, message):
  with pytest.raises(ValueError, match=message):
    order.Order(0, sizes, weights)


# One pass --------------------------------------------------------------------


def one_pass(seed=3, sizes=SIZES, weights=WEIGHTS):
  stream = order.OnePass(seed, sizes, weights)
  return [stream.draw(k) for k in range(len(stream))]


@pytest.mark.parametrize(
  'sizes, weights',
  [
    (SIZES, WEIGHTS),
    ((500,), (1,)),
    ((500, 300), (500, 300)),
    ((3, 1, 2000), (1e9, 1, 1e-9)),
    ((1,) * 9, range(1, 10)),
  ],
)
def test_a_pass_has_every_record_once(sizes, weights):
  """Whatever the weights: a source that is used up leaves its turns."""
  drawn = one_pass(sizes=sizes, weights=weights)
  assert len({d[:2] for d in drawn}) == len(drawn) == sum(sizes)
  assert {d.epoch for d in drawn} == {0}


def test_a_pass_begins_as_an_order_does():
  """Where no source is used up, the draws are the same."""
  drawn = one_pass()
  first = next(k for k, d in enumerate(DRAWS) if d.epoch)
  assert first > 50 and drawn[:first] == DRAWS[:first]


def test_a_pass_does_not_depend_on_what_was_asked_before():
  drawn, stream = one_pass(), order.OnePass(3, SIZES, WEIGHTS)
  for k in random.Random(0).sample(range(len(drawn)), 100):
    assert stream.draw(k) == drawn[k]


def test_threads_draw_one_pass():
  drawn, stream = one_pass(), order.OnePass(3, SIZES, WEIGHTS)
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert list(pool.map(stream.draw, range(len(drawn)))) == drawn


def test_the_first_draws_of_a_large_set_take_no_time():
  start = time.process_time()
  stream = order.OnePass(0, (10**8, 10**7), (1, 1))
  assert len({stream.draw(k) for k in range(1000)}) == 1000
  assert time.process_time() - start < 1


def test_what_is_no_order_is_no_pass():
  with pytest.raises(ValueError, match='source 1 has 0 records'):
    order.OnePass(0, (1, 0), (1, 1))

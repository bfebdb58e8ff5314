"""What a window packs is a function of its number, and every draw is told of.

`MIXTURE` is a mixture as a run has it; its sizes are drawn here and its visual
tokens and tiles come from LLaVA-OneVision's own recipe.
"""

import functools
import random
import time

import numpy as np
import pytest

from visor_jax.data.pipeline import bin_packing
from visor_jax.data.pipeline import order
from visor_jax.families.llava_onevision import images
from visor_jax.families.llava_onevision import recipe as recipe_lib
from visor_jax.spec import batch as batch_lib

RECIPE = recipe_lib.Recipe(
  384,
  27,
  tuple((384 * i, 384 * j) for i in range(1, 7) for j in range(1, 7)),
  9,
  (0.5,) * 3,
)
MIXTURE = (10**7, 10**6, 10**6, 10**5)  # documents, charts, photos, text alone
SHARES = (0.3, 0.25, 0.3, 0.15)


def shape(text, visual, tiles, prompts):
  return batch_lib.RowShape(text, visual, tiles, prompts, (384, 384), 729, 4)


SHAPE = shape(4096, 16384, 64, 48)


@functools.lru_cache(maxsize=256)
def _image(height, width):
  plan = images.plan(RECIPE, height, width)
  return plan.tokens, plan.tiles


def slots_of(source, index):
  """1..6 turns about a page, a chart, a photo or nothing.

  Pages are A4 scans of 200 and 120 dpi, cut a little differently each; sides
  are multiples of 20 pixels, because a plan of a new size takes a millisecond.
  """
  rng = random.Random(f'{source}/{index}')

  def vary(side, low, high):
    return round(side * rng.uniform(low, high) / 20) * 20

  if source == 0:
    page = rng.choice([(2200, 1700), (1310, 1000)])
    picture = _image(*(vary(side, 0.95, 1.05) for side in page))
  elif source == 1:
    picture = _image(vary(600, 0.6, 1.4), vary(800, 0.6, 1.4))
  elif source == 2:
    picture = _image(
      *rng.choice(
        [(480, 640), (480, 640), (640, 480), (1080, 1920), (427, 640)]
      )
    )
  else:
    picture = 0, 0
  turns = range(1, rng.randint(1, 6) + 1)
  text = min(20 + int(rng.lognormvariate(4, 0.7)), 600)
  return np.array([(text * t, *picture, t) for t in turns])


def each(lengths):
  return lambda draws: [lengths(d.source, d.index) for d in draws]


def packed(
  lengths=slots_of,
  rows=75,
  draws=256,
  shape=SHAPE,
  sizes=MIXTURE,
  weights=SHARES,
  seed=0,
):
  return bin_packing.Windows(
    order.Order(seed, sizes, weights), each(lengths), shape, draws, rows
  )


def test_a_row_does_not_depend_on_what_was_asked_before():
  """Resume, threads and hosts: any of them asks for any row first."""
  first, again = packed(draws=64, rows=18), packed(draws=64, rows=18)
  rows = [first.row(r) for r in range(18 * 8)]
  for r in random.Random(0).sample(range(18 * 8), 30):
    assert again.row(r) == rows[r]
  assert packed(draws=64, rows=18, seed=1).row(0) != rows[0]


@pytest.mark.parametrize('rows', [60, 80])
def test_every_draw_is_in_one_row_or_told_of(rows):
  """With too few rows and with too many."""

  def lengths(source, index):
    slots = slots_of(source, index)
    if index % 17 == 0:
      return slots[:0]
    return slots * 60 if index % 19 == 0 else slots

  windows, left = packed(lengths, rows=rows), ()
  for number in range(4):
    w = windows.window(number)
    first = number * 256
    assert sorted(w.placed + w.left + w.long + w.bad) == list(
      range(first, first + 256)
    )
    assert sorted(w.late + w.lost) == sorted(left)
    inside = sorted(p.number for row in w.rows for p in row)
    assert inside == sorted(w.placed + w.late)
    assert len(w.rows) == rows
    assert all(row == tuple(sorted(row)) for row in w.rows)
    assert all(
      p.draw == windows.order.draw(p.number) for r in w.rows for p in r
    )
    assert w.bad and w.long
    left = w.left
  assert bool(w.lost) == bool(w.left) == (rows == 60)


@pytest.mark.parametrize(
  'slots',
  [
    (1300, 16384, 64, 48),
    (4096, 15000, 64, 48),
    (4096, 16384, 37, 48),
    (4096, 16384, 64, 12),
  ],
)
def test_no_row_holds_more_than_it_can_and_padding_is_the_rest(slots):
  """Each kind of slot is the scarce one once."""
  w = packed(shape=shape(*slots)).window(1)
  used = np.array([np.sum([p.need for p in row], axis=0) for row in w.rows])
  assert (used <= slots).all() and w.left
  np.testing.assert_allclose(
    [w.padding[name] for name in bin_packing.SLOTS], 1 - used.mean(0) / slots
  )


@pytest.mark.parametrize('second,late,lost', [(0, 2, 0), (3, 1, 1), (4, 0, 2)])
def test_what_is_left_comes_a_window_later(second, late, lost):
  """Six long draws for four rows, then `second` more, then none."""
  draws = order.Order(0, (24,), (1,))
  long = {draws.draw(k).index for k in (*range(6), *range(8, 8 + second))}

  def lengths(source, index):
    return np.array([[5 if index in long else 1, 0, 0, 1]])

  run = bin_packing.Windows(draws, each(lengths), shape(9, 0, 0, 9), 8, 4)
  one, two, three = map(run.window, range(3))
  assert one.left == (4, 5) and not one.late + one.lost
  assert two.late == (4, 5)[:late] and two.lost == (4, 5)[late:]
  assert not two.left + three.left + three.late + three.lost
  run._window.cache_clear()  # what it consists of is still there, and untouched
  assert run.window(1) == two


def test_the_over_long_are_cut_at_a_turn_or_left_out():
  talks = [
    [[9, 4, 1, 1]],  # fits
    [[3, 4, 1, 1], [9, 4, 1, 2], [11, 4, 1, 3]],  # its third turn does not
    [[11, 4, 1, 1]],  # nor does its only one
    [[3, 4, 1, 1], [9, 15, 2, 2]],  # the second image is too large
    np.zeros((0, 4), int),
  ]  # bad
  windows = packed(
    lambda source, index: np.array(talks[index]),
    draws=5,
    rows=3,
    shape=shape(10, 9, 3, 3),
    sizes=(5,),
    weights=(1,),
  )
  w = windows.window(0)
  at = {windows.order.draw(k).index: k for k in range(5)}
  turns = {p.draw.index: p.turns for row in w.rows for p in row}
  needs = {p.draw.index: p.need for row in w.rows for p in row}
  assert turns == {0: 1, 1: 2, 3: 1}
  assert needs[1] == (9, 4, 1, 2) and needs[3] == (3, 4, 1, 1)
  assert set(w.cut) == {at[1], at[3]}
  assert w.long == (at[2],) and w.bad == (at[4],)


@pytest.mark.parametrize(
  'slots,draws', [((4096, 18432, 64, 48), 512), ((8192, 32768, 128, 96), 512)]
)
def test_padding_of_a_mixture_is_at_most_a_tenth(slots, draws):
  """With the rows that `rows_for` says, in windows that it did not measure."""
  stream = order.Order(5, MIXTURE, SHARES)
  rows = bin_packing.rows_for(
    stream, each(slots_of), shape(*slots), draws, windows=3
  )
  run = bin_packing.Windows(stream, each(slots_of), shape(*slots), draws, rows)
  packed_windows = [run.window(100 + i) for i in range(3)]
  assert not any(w.lost or w.long or w.bad for w in packed_windows)
  assert np.mean([w.padding['visual'] for w in packed_windows]) <= 0.1
  # And no row is filled last.
  emptiest = min(
    sum(p.need[1] for p in row) for w in packed_windows for row in w.rows
  )
  assert emptiest > 0.6 * slots[1]


def test_rows_for_is_as_few_as_hold_a_window():
  """Each draw takes 3 of 9 slots, so three share a row."""

  def lengths(source, index):
    return np.array([[3, 1, 1, 1]])

  def nothing(source, index):
    return np.zeros((0, 4), int)

  draws = order.Order(0, (50,), (1,))
  assert bin_packing.rows_for(draws, each(lengths), shape(9, 9, 9, 9), 10) == 4
  assert bin_packing.rows_for(draws, each(lengths), shape(9, 9, 9, 2), 10) == 5
  assert bin_packing.rows_for(draws, each(nothing), shape(9, 0, 0, 9), 10) == 1


def test_rows_of_a_window_are_shuffled():
  """The largest were placed first; steps should not go from large to small."""

  def lengths(source, index):
    return np.array([[60 + index, 0, 0, 1]])

  windows = packed(
    lengths,
    draws=40,
    rows=40,
    shape=shape(100, 0, 0, 9),
    sizes=(40,),
    weights=(1,),
  )
  orders = [
    [row[0].need[0] for row in windows.window(w).rows] for w in range(2)
  ]
  assert sorted(orders[0]) == sorted(orders[1]) == list(range(60, 100))
  assert orders[0] != orders[1]
  for sizes in orders:
    assert sum(a > b for a, b in zip(sizes, sizes[1:])) < 30


def test_any_row_of_ten_million_records_is_found_within_a_second():
  """And asks for no more than two windows, wherever it is."""
  asked = []

  def lengths(source, index):
    asked.append(index)
    return slots_of(source, index)

  for source in range(3):
    for index in range(200):
      slots_of(source, index)  # caches the plans of images, as in a run
  begin = time.process_time()
  windows = packed(lengths, rows=150, draws=512)
  assert windows.row(10**9)
  assert time.process_time() - begin < 1
  assert len(asked) == 2 * 512
  windows.row(10**9 + 1)
  assert len(asked) == 2 * 512
  windows.row(10**9 + 150)  # the next window, which knows what this one left
  assert len(asked) == 3 * 512


def test_windows_of_nothing_are_an_error():
  with pytest.raises(ValueError, match='windows of 0 draws and 3 rows'):
    packed(draws=0, rows=3)

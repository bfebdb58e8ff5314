"""Who sees whom, as a table and as ranges, is one rule."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests import rows
from visor_jax.models import positions
from visor_jax.models import visibility

ROWS = (('ttvvvtpaa', 'vvtpa'), ('tpaa', 'vtvtpa', 'tp'), ())


def as_table(ranges, keys):
  """bool [B, Q, S]: who sees whom by ranges."""
  number = np.arange(keys)
  start, end = (np.asarray(x)[:, :, None] for x in ranges)
  return (start <= number) & (number < end)


def layouts():
  """Of rows as they are packed, and of which some visual tokens are left."""
  for first in (False, True):
    layout = positions.token_layout(
      rows.batch(*ROWS, visual_first=first).map(jnp.asarray)
    )
    yield layout
    index = jnp.broadcast_to(jnp.array([0, 2, 4, 6]), (len(ROWS), 4))
    valid = jnp.take_along_axis(layout.visual.segment, index, axis=1) > 0
    yield positions.keep_visual(layout, index, valid)


@pytest.mark.parametrize('number', range(4))
def test_ranges_are_who_sees_whom(number):
  """Of all that a model asks: TEXT, CROSS, SELF, its last, a router."""
  at = [*layouts()][number]
  for queries, keys in (
    (at.text, at.text),
    (at.text, at.visual),
    (at.merged, at.merged),
    (at.text, at.merged),
    (at.prompt, at.visual),
  ):
    assert np.asarray(visibility.in_order(keys)).all()
    seen = np.asarray(visibility.visible(queries, keys))
    ranges = visibility.ranges(queries, keys)
    assert np.array_equal(as_table(ranges, seen.shape[2]), seen)
    if queries is keys:
      ranges = visibility.ranges_of_segments(keys.segment, causal=True)
      assert np.array_equal(as_table(ranges, seen.shape[2]), seen)


def test_a_segment_sees_all_of_itself():
  segment = jnp.array([[1, 1, 2, 3, 3, 0], [0, 0, 0, 0, 0, 0]])
  at = positions.Slots(segment, jnp.zeros_like(segment))
  seen = np.asarray(visibility.visible(at, at))
  for ranges in (
    visibility.ranges_of_segments(segment),
    visibility.ranges(at, at),
  ):
    assert np.array_equal(as_table(ranges, 6), seen)


def test_what_is_not_in_order_is_found():
  """An image whose text stands between another's, padding in front, a turn."""
  for segment, place in (
    ([1, 2, 1], [0, 1, 2]),
    ([0, 1, 1], [0, 1, 2]),
    ([1, 1, 1], [0, 2, 1]),
  ):
    slots = positions.Slots(jnp.array([segment]), jnp.array([place]))
    assert not np.asarray(visibility.in_order(slots)).any()


@pytest.mark.parametrize(
  'segments', ('11 11', '11 12', '22 11', '11 1.', '1. 11')
)
@pytest.mark.parametrize('place', (3, 4, 5))
def test_every_is_all_that_are_visible(segments, place):
  """Of two rows, the first of which is one segment."""
  queries, keys = (
    positions.Slots(
      np.array([[1, 1], [0 if c == '.' else int(c) for c in figure]]),
      np.array([[place, place + 1]] * 2),
    )
    for place, figure in zip((5, place), segments.split())
  )
  seen = visibility.visible(queries, keys)
  assert visibility.every(queries, keys) == seen.all()

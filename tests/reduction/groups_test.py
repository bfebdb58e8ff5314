"""A group keeps its share, whatever else is in its row."""

import functools

import numpy as np
import pytest

from tests import rows
from tests.reduction import one_row
from visor_jax.reduction import groups
from visor_jax.reduction import method


@pytest.mark.parametrize('name', ['visionzip', 'vispruner'])
def test_a_share_is_one_of_each_image(name):
  """However much more one is looked at than the other."""
  segment = [1] * 8 + [2] * 4 + [0] * 2
  seen = np.arange(14) / 14
  keys = np.random.default_rng(0).normal(size=(14, 2))
  visual = np.random.default_rng(1).normal(size=(14, 3))
  _, at = one_row.reduce(
    f'{name}:1/2', segment, range(14), seen, keys, visual=visual
  )
  assert sum(i < 8 for i in at) == 4 and len(at) == 6
  assert 7 in at and 11 in at  # the most looked at of each


def test_the_highest_of_each_conversation_stay():
  run = rows.jit(
    functools.partial(groups.highest, share=one_row.one('fastv:1:1/2').share)
  )
  kept_slots = run(
    np.float32([[3, 1, 2, 3, 9, 5, 5, 5, 99]]),
    np.int32([[1, 1, 1, 1, 2, 4, 4, 4, 0]]),
  )
  assert kept_slots.slot[0][kept_slots.valid[0]].tolist() == [0, 3, 5]
  assert kept_slots.slot.shape == (1, 4)


def test_ratings_are_there_for_methods_that_ask():
  """Forgetting to is said, not a crash in the middle of a program."""
  patches = method.Patches(np.zeros((1, 2, 1)), np.ones((1, 2, 1)), 1, (1, 2))
  with pytest.raises(ValueError, match='rates_patches'):
    groups.patch_rating(patches)

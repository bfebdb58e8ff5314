"""The tokens that differ most from one another."""

import numpy as np
import pytest

from tests.reduction import one_row


def published(visual, count):
  """As section 3 of the paper says it, one token at a time."""
  unit = visual / np.linalg.norm(visual, axis=1, keepdims=True)
  distance = 1 - unit @ unit.T
  apart = distance + 9 * np.eye(len(visual))
  chosen = [int(np.argmax(apart.min(axis=0)))]
  while len(chosen) < count:
    score = distance[chosen].min(axis=0)
    score[chosen] = -1
    chosen.append(int(np.argmax(score)))
  return sorted(chosen)


@pytest.mark.parametrize('share,count', [('1/24', 1), ('1/4', 6), ('1', 24)])
def test_it_is_what_the_paper_says(share, count):
  visual = np.random.default_rng(0).normal(size=(24, 5))
  values, at = one_row.reduce(
    f'divprune:{share}', [1] * 24, range(24), visual=visual
  )
  assert at == published(visual, count)
  np.testing.assert_allclose(values, visual[at], atol=1e-6)


def test_images_are_chosen_from_apart():
  visual = np.random.default_rng(1).normal(size=(20, 5))
  places = [*range(8), *range(9, 21)]  # text between two images
  _, at = one_row.reduce('divprune:1/2', [1] * 20, places, visual=visual)
  assert at == published(visual[:8], 4) + [
    8 + i for i in published(visual[8:], 6)
  ]

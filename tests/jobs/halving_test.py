"""Who is asked no further, and that the others are who they would be."""

import numpy as np
import pytest

from visor_jax import config as config_lib
from visor_jax.jobs import halving

A, B, C, D = (False, False), (True, False), (False, True), (True, True)


def trial(scores, cost=1.0):
  return halving.Trial(np.array(scores, float), np.full(len(scores), cost))


@pytest.mark.parametrize(
  'plan,other,clear',
  [
    ([1] * 6, [0] * 6, False),  # one more the other way would be a difference
    ([1] * 16, [0] * 16, True),
    ([1, 0] * 64, [0, 1] * 64, False),  # as good, on other questions
    ([1, 1] * 64, [1, 0] * 64, True),
    ([1] * 128, [1] * 124 + [0] * 4, False),  # 3 %, of 128 questions
    ([1] * 1024, [1] * 992 + [0] * 32, True),  # of 1024
    ([0] * 16, [1] * 16, False),
    ([], [1], False),
  ],
)
def test_who_is_clearly_ahead(plan, other, clear):
  lead = halving.ahead(trial(plan), trial(other))
  assert (lead >= halving.ERRORS) == clear


def test_the_lead_is_of_the_same_questions():
  """Chance that both share is no chance: unpaired, this is within noise."""
  rng = np.random.default_rng(0)
  hard = rng.random(400) < 0.5
  worse = np.where(rng.random(400) < 0.1, 0, hard)
  more = np.append(worse, np.ones(400))  # what it has beyond them
  assert halving.ahead(trial(hard), trial(worse)) == halving.ahead(
    trial(hard), trial(more)
  )
  errors = trial(hard).error + trial(worse).error
  assert halving.ahead(trial(hard), trial(worse)) > halving.ERRORS
  assert trial(hard).accuracy - trial(worse).accuracy < errors * halving.ERRORS


def test_only_what_costs_no_more_leaves_a_plan_out():
  tried = {B: trial([0] * 40, 2), C: trial([1] * 40, 2), D: trial([1] * 40, 3)}
  assert halving.beaten_by(B, tried) == C
  assert halving.beaten_by(B, {B: tried[B], D: tried[D]}) is None
  assert halving.beaten_by(C, tried) is None


def test_plans_that_stay_are_asked_to_the_end():
  """A part at a time; the best of a comparison stays, whoever is ahead."""
  right = {A: 0.9, B: 0.2, C: 0.5, D: 0.1}
  cost = {A: 1, B: 2, C: 2, D: 3}
  rng, asked = np.random.default_rng(0), []
  draws = rng.random((4, 64))

  def ask(plan, part):
    asked.append((plan, part))
    scores = draws[(A, B, C, D).index(plan), :part] < right[plan]
    return trial(scores, cost[plan])

  trials = {}
  (first,) = halving.run([A], ask, trials, [16, 32, 64], {A, D})
  done = [*halving.run([B, C, D], ask, trials, [16, 32, 64], {A, D})]
  assert first == (A, None)
  # A costs less and is better than all; C is the best of its round, D stays.
  assert done == [(B, A), (C, None), (D, None)]
  assert [part for plan, part in asked if plan == B] == [16]
  assert [t.count for t in trials.values()] == [64, 16, 64, 64]


@pytest.mark.parametrize(
  'examples,chunk,want,ends',
  [
    (512, 1024, [128, 256, 512], 128),
    (512, 100, [200, 400, 512], 100),
    (6000, 1024, [2048, 4096, 6000], 1024),
    (130, 1024, [33, 66, 130], 33),
    (60, 1024, [30, 60], 15),
    (4, 1024, [4], 1),
  ],
)
def test_parts_end_where_files_of_answers_do(examples, chunk, want, ends):
  """Or a part would be asked again with the next."""
  config = config_lib.default()
  config.eval.chunk = chunk
  parts, options = halving.parts(examples, config.eval)
  assert parts == want and options.chunk == ends
  assert all(part % ends == 0 for part in parts[:-1])

"""What a calibration promises is kept as often as it says."""

import numpy as np
import pytest
from scipy import special

from visor_jax.jobs import calibrate
from visor_jax.spec import budget


def population(rng, count):
  """Router scores and right answers of questions that need 1, 2 or 3 plans."""
  hard = rng.normal(size=count)
  needs = np.digitize(hard + rng.normal(size=count) / 2, [0.3, 1.2])
  right = needs[:, None] <= np.arange(3)
  scores = -2 * (hard[:, None] - [-0.5, 0.7, 1.9]) ** 2
  return scores, (right & (rng.random((count, 1)) < 0.9)).astype(float)


def chosen(scores, confidence):
  probability = special.softmax(scores, axis=1).cumsum(axis=1)
  sure = np.argmax(probability >= confidence, axis=1)
  return np.full(len(scores), 2) if confidence == 1 else sure


@pytest.mark.parametrize(
  'drop,labels,tries',
  [
    (0.05, 300, 60),
    *(
      pytest.param(drop, labels, 200, marks=pytest.mark.drill)
      for drop in (0.01, 0.05)
      for labels in (300, 1000, 3000)
    ),
  ],
)
def test_a_promised_drop_is_kept_as_often_as_is_said(drop, labels, tries):
  """In the means of all questions there are, calibrated on a few of them."""
  rng, kept = np.random.default_rng(0), 0
  scores, right = population(rng, 100_000)
  for _ in range(tries):
    some = rng.integers(0, len(scores), labels)
    of_some, curve = right[some], []
    for confidence_ in calibrate.thresholds(scores[some])[::8] + [1.0]:
      plan = chosen(scores[some], confidence_)
      got = of_some[np.arange(labels), plan]
      least = (
        calibrate.retained(got, of_some[:, -1], 0.95) if any(plan < 2) else 1
      )
      curve.append(budget.Point(confidence_, plan.mean(), got.mean(), least))
    promised = budget.confidence_keeping(tuple(curve), drop)
    plan = chosen(scores, promised)
    reached = right[np.arange(len(right)), plan].mean()
    kept += reached >= (1 - drop) * right[:, -1].mean()
  print(f'drop {drop}, {labels} labels: kept in {kept} of {tries}')
  assert kept >= 0.95 * tries

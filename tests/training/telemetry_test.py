"""What is written of steps is of all of them, not of the newest."""

import numpy as np

from visor_jax.training import telemetry


def step(loss, skipped=0):
  return {k: np.float32(v) for k, v in dict(loss=loss, skipped=skipped).items()}


def test_numbers_are_means_of_the_steps_that_were_applied():
  steps = [step(1), step(np.nan, 1), step(4)]
  assert telemetry.means(steps) == {'loss': 2.5, 'skipped': 0}
  assert telemetry.means([step(0.1)])['loss'] == np.float32(0.1)
  assert np.isnan(telemetry.means([step(np.nan, 1)])['loss'])


def test_a_loss_is_that_of_its_plan():
  """The largest plan's and the smallest's are no one curve."""
  names, steps = ['max', 'min', 'max'], [step(1), step(7), step(3)]
  assert telemetry.losses_by_plan(names, steps) == {
    'loss/max': 2.0,
    'loss/min': 7.0,
  }

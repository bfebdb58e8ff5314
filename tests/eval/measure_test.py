"""Time and memory of answers: there, positive, once, and of what ran."""

import jax
import numpy as np
import pytest

from tests.eval import run_test
from visor_jax.eval import generate
from visor_jax.eval import measure
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import plan as plans

FIXED = plans.Selection('fixed', run_test.VIABLE[1])
CHOSEN = [
  dict(index=i, plan=plan) for i, plan in enumerate([[1, 0]] * 3 + [[0, 0]])
]


@pytest.fixture(scope='module')
def under_test():
  return run_test.make(mesh_lib.make(devices=jax.devices()[:1]))


def ask(under_test, selection, rows, folder):
  return measure.measure(under_test, 'test', selection, rows, folder, 4)


def test_a_router_pays_for_itself_and_for_what_it_chose(
  under_test, tmp_path, monkeypatch
):
  """By a clock that is made up: seconds of every function."""
  took = {
    generate.route: 1.0,
    generate.resume: 8.0,
    generate.prefill: 40.0,
    generate.extend: 0.5,
  }
  timed = []

  def clock(self, function, *args):
    plan = args[3:] and (args[4] if function is generate.resume else args[4:5])
    timed.append((function, plan))
    self.peak = max(self.peak, int(took[function]))
    return took[function] * np.linspace(0.5, 2.5, measure.TIMES) / 1.5

  monkeypatch.setattr(measure.Timer, '__call__', clock)
  measured = ask(under_test, plans.Selection('router'), CHOSEN, tmp_path)
  assert measured['first_token_s'] == 1 + 8 and measured['peak_bytes'] == 8
  assert measured['first_token_range_s'] == pytest.approx([9 / 3, 9 / 0.6])
  assert measured['tokens_per_s'] == pytest.approx(4 * measure.NEW / 0.5)
  assert measured['tokens_per_s_range'] == pytest.approx(
    [4 * measure.NEW / 0.5 * x for x in (0.6, 3)]
  )
  assert [plan for f, plan in timed if f is generate.resume] == [
    (True, False),
    (False, False),
  ]
  measured = ask(under_test, FIXED, CHOSEN[:1], tmp_path)
  assert measured['first_token_s'] == 40


def test_it_is_measured_once_and_kept(under_test, tmp_path):
  measured = ask(under_test, FIXED, CHOSEN[:1], tmp_path)
  weights = sum(x.nbytes for x in jax.tree.leaves(under_test.params))
  assert measured['peak_bytes'] > weights / 2  # some weights have no part in it
  assert 0 < measured['first_token_s'] < 60 and measured['tokens_per_s'] > 0
  assert measured['process_bytes'] > 1e7 and measured['of'] in (
    'host',
    'device',
  )
  assert measured['batch'] == 4 and measured['device']
  assert (
    ask(under_test, FIXED, CHOSEN[:1], tmp_path) == measured
  )  # time never is
  (path,) = tmp_path.glob('*/measured.json')
  path.write_text(path.read_text()[:-9])
  assert ask(under_test, FIXED, CHOSEN[:1], tmp_path).keys() == measured.keys()

"""Who answers in a run."""

import gc
import json
import weakref

import pytest

from tests import tiny
from visor_jax.data.suites import digits
from visor_jax.jobs import run as run_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib


@pytest.mark.parametrize(
  'text,stage', [('base', 'base'), ('max', 'universal'), ('router', 'policy')]
)
def test_who_answers(text, stage, tmp_path, monkeypatch):
  """The base, the network of all plans, or that with a router."""
  workdir = workdir_lib.Workdir(tmp_path)
  for path, values in (
    (workdir.plans, dict(viable=[[0], [1]])),
    (workdir.calibration, dict(confidence=0.6, curve=[])),
  ):
    path.parent.mkdir()
    path.write_text(json.dumps(values))
  restored = []
  monkeypatch.setattr(
    run_lib.weights,
    'restore',
    lambda stage, inputs: restored.append(stage) or {'of': stage},
  )
  run = run_lib.Run(tiny.get_config(), workdir, None, digits.Suite(0))
  (selection,) = plans.parse(text, plans.visor(3))
  answering = run.answering(selection)
  assert answering.params == {'of': stage}
  if text == 'router':
    assert answering.viable == ((False,), (True,))
    assert answering.confidence == 0.6
  else:
    assert answering.viable == () and answering.confidence is None
  run.answering(selection, 'pack:2')
  assert restored == [stage]  # once


class Weights(dict):
  """Can be referred to weakly, which a dict cannot."""


def test_the_weights_of_one_stage_alone_are_held(tmp_path, monkeypatch):
  """Before another stage's are read those that were there are let go."""
  alive = []

  def restore(stage, inputs):
    del inputs
    gc.collect()
    assert [params for params in alive if params()] == []
    params = Weights(of=stage)
    alive.append(weakref.ref(params))
    return params

  monkeypatch.setattr(run_lib.weights, 'restore', restore)
  workdir = workdir_lib.Workdir(tmp_path)
  run = run_lib.Run(tiny.get_config(), workdir, None, digits.Suite(0))
  for text in ('base', 'max', 'min', 'base'):
    (selection,) = plans.parse(text, plans.visor(3))
    assert run.answering(selection).params
  assert len(alive) == 3

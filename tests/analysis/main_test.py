"""The command, and what needs no network."""

import json
import types

import jax
import numpy as np
import pytest

from tests import published
from visor_jax import config as config_lib
from visor_jax.analysis import __main__ as door
from visor_jax.analysis import layerwise
from visor_jax.analysis import lengths
from visor_jax.analysis import unseen
from visor_jax.checkpoint import resolve
from visor_jax.data.suites import digits
from visor_jax.eval import run as eval_run
from visor_jax.flops import cost as flops
from visor_jax.jobs import calibrate
from visor_jax.jobs import run as run_lib
from visor_jax.reduction import grammar
from visor_jax.runtime import identity as identity_lib
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import architecture
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import loop

PLANS = ((False, False), (True, True))


@pytest.fixture
def workdir(tmp_path):
  """Of a run that only searched."""
  config = config_lib.default()
  config.model.size = 'digits'
  config.model.cross_layers, config.model.self_layers = (4,), (2, 3)
  resolve.keep(workdir_lib.Workdir(tmp_path), resolve.architecture(config))
  (tmp_path / 'config.json').write_text(
    json.dumps(identity_lib.identity(config))
  )
  (tmp_path / 'search').mkdir()
  (tmp_path / 'search/plans.json').write_text(json.dumps(dict(viable=PLANS)))
  return tmp_path


def test_curves_are_the_cost_of_plans():
  size, layout = published.SIZES['0.5b'], plans.visor(24)
  selections = plans.parse('base+max+min', layout)
  model = architecture.Architecture(size, layout)
  numbers = lengths.measure(
    model,
    selections,
    grammar.parse('fastv+m3:2'),
    60,
    lengths=(1485, 7371),
  )
  assert list(numbers['curves']) == [
    'base',
    'max',
    'min',
    'fastv:2:0.5',
    'm3:2',
  ]
  assert numbers['lengths'] == [1485, 7371] and numbers['text'] == 60
  want = flops.cost(model, layout.min, 7371, 60).llm_prefill
  assert numbers['curves']['min'][1] == want
  base, most, least = (numbers['curves'][n] for n in ('base', 'max', 'min'))
  # The table of the paper's accounting: 2.7x and 23x, 2.9x and 91x.
  np.testing.assert_allclose(
    [base[0] / most[0], base[1] / most[1]], [2.7, 2.9], atol=0.05
  )
  np.testing.assert_allclose(
    [base[0] / least[0], base[1] / least[1]], [23, 91], atol=0.5
  )
  # The table of docs/rivals.md, of 384 x 384 pixels.
  np.testing.assert_allclose(numbers['curves']['fastv:2:0.5'][0], 652.5e9, 1e-3)
  np.testing.assert_allclose(numbers['curves']['m3:2'][0], 332.3e9, 1e-3)


def test_what_is_there_is_not_done_again(workdir, capsys):
  flags = [f'--workdir={workdir}', '--only=length']
  assert door.main(flags) == 0
  file = workdir / 'analysis/length.json'
  first, numbers = file.read_text(), json.loads(file.read_text())
  assert {'config', 'seed', 'versions', 'options'} <= numbers.keys()
  assert numbers['left_out'] == {}  # it asks nothing
  assert list(numbers['numbers']['curves']) == [
    'base',
    'min',
    'max',
    'visionzip:1/9',
    'vispruner:1/9',
    'm3:4',
    'pack:2',
    'fastv:2:0.5',
    'pyramiddrop:0.5',
  ]
  assert door.main(flags) == 0
  assert 'done before' in capsys.readouterr().out
  assert file.read_text() == first
  assert door.main([*flags, '--text=7']) == 0
  assert json.loads(file.read_text())['numbers']['text'] == 7


def test_a_stage_that_is_not_there_is_named_and_others_go_on(workdir, capsys):
  assert door.main([f'--workdir={workdir}', '--only=unseen,length']) == 1
  assert 'error: unseen' in capsys.readouterr().err
  assert (workdir / 'analysis/length.json').exists()


@pytest.mark.parametrize(
  'flags,why',
  [
    (['--only=atention'], 'analyses are attention, cka'),
    (['--workdir=/nowhere'], 'names the folder of a run'),
  ],
)
def test_a_wrong_flag_is_named(workdir, flags, why, capsys):
  assert door.main([f'--workdir={workdir}', *flags]) == 1
  assert why in capsys.readouterr().err


def test_questions_are_filled_up_with_repeats_that_do_not_count():
  mesh = mesh_lib.make(devices=jax.devices()[:1])
  under_test = eval_run.ModelUnderTest(None, None, mesh, digits.Suite(0))
  numbers = list(layerwise.questions(under_test, 6, 4, 'x'))
  assert [len(families) for families, _ in numbers] == [4, 2]
  assert numbers[1][0] == [
    digits.Suite(0).question('test', i).turns[0].family for i in (4, 5)
  ]
  assert len(numbers[1][1].tokens) == 4
  np.testing.assert_array_equal(
    numbers[1][1].tokens[1], numbers[1][1].tokens[2]
  )


def test_both_routers_answer_the_same_questions(tmp_path, monkeypatch):
  """The one that has not seen family b always looks there, the other never."""
  labels = [
    dict(
      index=i,
      id=i,
      family='ab'[i % 2],
      plans=['min', 'max'],
      scores=[1, 1],
      flops=[1, 2],
      label=0,
    )
    for i in range(8)
  ]
  (tmp_path / 'label').mkdir()
  (tmp_path / 'label/labels.jsonl').write_text(
    ''.join(json.dumps(r) + '\n' for r in labels)
  )
  (tmp_path / 'search').mkdir()
  (tmp_path / 'search/plans.json').write_text(json.dumps(dict(viable=PLANS)))
  (tmp_path / 'policy').mkdir()
  calibration = lambda confidence: json.dumps(
    dict(confidence=confidence, curve=[])
  )
  (tmp_path / 'policy/calibration.json').write_text(calibration(0.5))
  learned, calibrated = [], []

  def train(stage, inputs):
    learned.append(
      (
        stage,
        tuple(inputs.config.policy.without),
        inputs.labels,
        inputs.before.path,
      )
    )

  def calibrate_(run, under_test, labels):
    calibrated.extend(labels)
    run.workdir.calibration.parent.mkdir(parents=True)
    run.workdir.calibration.write_text(calibration(0.75))

  def answers(under_test, stream, count, selection, folder, options, score):
    dear = lambda f: (
      selection.plan or f == 'b' and under_test.confidence == 0.75
    )
    return [
      dict(
        family=f,
        score=float(bool(dear(f)) or f == 'a'),
        llm_prefill_flops=10 if dear(f) else 5,
      )
      for f in 'abab'
    ]

  def model(run, stage, viable=(), confidence=None, reduction=None):
    visor = types.SimpleNamespace(layout=plans.visor(6))
    return eval_run.ModelUnderTest(
      visor, (), None, run.suite, viable, confidence
    )

  monkeypatch.setattr(loop, 'train', train)
  monkeypatch.setattr(calibrate, 'calibrate', calibrate_)
  monkeypatch.setattr(eval_run, 'answers', answers)
  monkeypatch.setattr(run_lib.Run, 'model', model)
  suite = types.SimpleNamespace(
    group={'a': 'coarse', 'b': 'fine'}.get, fit=digits.Suite(0).fit
  )
  config = config_lib.default()
  config.label.examples = len(labels)
  config.model.size = 'digits'
  config.model.cross_layers, config.model.self_layers = (4,), (2, 3)
  run = run_lib.Run(config, workdir_lib.Workdir(tmp_path), None, suite)
  measure = lambda without: unseen.measure(run, tmp_path / 'unseen', without, 4)
  numbers = measure(('b',))
  assert learned == [('policy', ('b',), [(i, 0) for i in (0, 2, 4)], tmp_path)]
  assert [r['family'] for r in calibrated] == ['a']
  assert config.policy.without == ()  # the caller's own is as it was
  a, b = numbers['families']
  assert (a['left_out'], b['left_out']) == (False, True)
  assert b['ordinary'] == dict(accuracy=0.0, flops=5.0)
  assert b['without'] == b['max'] == dict(accuracy=1.0, flops=10.0)
  assert a['without'] == a['ordinary'] == dict(accuracy=1.0, flops=5.0)
  # One a group: none to spare.
  assert unseen.one_of_each_group(run.labels, suite.group) == ()
  # Where the run's own router is the one without, the ordinary one is trained.
  config.policy.without = ('b',)
  measure(('b',))
  assert learned[1] == ('policy', (), [(i, 0) for i in range(6)], tmp_path)

"""Labels: the cheapest plan that is right; and calibrating on those unseen."""

import functools
import json
import types

import numpy as np
import pytest

from experiments import quickstart
from visor_jax import config as config_lib
from visor_jax.data.suites import digits
from visor_jax.eval import run as eval_run
from visor_jax.jobs import calibrate
from visor_jax.jobs import labels
from visor_jax.jobs import train
from visor_jax.runtime import errors
from visor_jax.runtime import files
from visor_jax.runtime import outcomes
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib

TWO = ((False,), (True,))


def run_of(folder, config):
  """A run of two viable plans whose model is not asked."""
  return types.SimpleNamespace(
    config=config,
    workdir=workdir_lib.Workdir(folder),
    viable=TWO,
    model=lambda stage, viable: types.SimpleNamespace(
      viable=viable, suite=digits.Suite(0)
    ),
  )


def confidence(folder, **target):
  """What a router asks for, as it was calibrated."""
  calibration = outcomes.calibration(workdir_lib.Workdir(folder), TWO)
  return calibration.confidence_for(plans.Selection('router', **target))


@pytest.mark.parametrize(
  'scores,threshold,want',
  [
    ([1, 1, 1], 0.99, 0),
    ([0, 1, 1], 0.99, 1),
    ([0, 0, 1], 0.99, 2),
    ([0, 1, 0], 0.99, 1),  # the largest need not be right
    ([1, 0, 0], 0.99, 0),
    ([0.5, 0.98, 1], 0.99, 2),
    ([0.5, 0.98, 1], 0.98, 1),
    ([0.5, 0.98, 1], 0.5, 0),
    ([0.2, 0.4, 0.4], 1, 1),  # the best is the measure, not 1
    ([0.2, 0.4, 0.4], 0.5, 0),
    ([0, 0, 0.1], 0, 0),
  ],
)  # threshold 0: all are right
@pytest.mark.parametrize('all_wrong', ['skip', 'cheapest'])
def test_the_cheapest_plan_that_is_right(scores, threshold, want, all_wrong):
  assert labels.cheapest(scores, threshold, all_wrong) == want


@pytest.mark.parametrize('all_wrong,want', [('skip', None), ('cheapest', 0)])
@pytest.mark.parametrize('threshold', [0, 0.5, 1])
def test_where_every_plan_is_wrong(all_wrong, want, threshold):
  """Such questions say nothing, or: do not waste anything on them."""
  assert labels.cheapest([0, 0.0, 0], threshold, all_wrong) == want


@pytest.mark.parametrize(
  'count,share,want',
  [(8, 0.25, 6), (8, 0.0, 8), (8, 1.0, 0), (3, 0.5, 2), (1, 0.25, 1)],
)
def test_parts_are_in_order_and_apart(count, share, want):
  """A question in both would calibrate on what was learned by heart."""
  every = [dict(index=i, id=f'{i}', family='f') for i in range(count)]
  learn, held_out = labels.parts(every, share)
  assert learn + held_out == every and len(learn) == want


def test_a_record_is_never_learned_from_and_held_out():
  """Whatever gave it twice; the ids of another source are other records'."""
  ids = ['f/0', 'f/1', 'f/2', 'g/3', 'f/1', 'f/3', 'f/0', 'f/4']
  rows = [dict(index=i, family=id_[0], id=id_[2]) for i, id_ in enumerate(ids)]
  learn, held_out = labels.parts(rows, 0.5)
  assert learn == rows[:4] and held_out == [rows[5], rows[7]]


def test_labels_are_written_row_by_row(tmp_path, monkeypatch):
  """Scores and costs in the order of the plans, the label as a number."""
  right = {TWO[0]: [1, 0, 0], TWO[1]: [1, 1, 0]}

  def answers(under_test, stream, count, selection, folder, options, score):
    assert (stream, count, score) == ('label', 3, 'token')
    return [
      dict(
        index=i,
        id=f'r{i}',
        family='f',
        score=s,
        llm_prefill_flops=100 + sum(selection.plan),
        total_flops=1000,
      )
      for i, s in enumerate(right[selection.plan])
    ]

  monkeypatch.setattr(eval_run, 'answers', answers)
  config = config_lib.default()
  config.label.examples, config.label.score = 3, 'token'
  run = run_of(tmp_path, config)
  rows = labels.label(run)
  assert rows == outcomes.labels(run.workdir, TWO, range(3))
  assert [r['label'] for r in rows] == [0, 1, None]
  assert [r['index'] for r in rows] == [0, 1, 2]
  assert rows[1] == dict(
    index=1,
    id='r1',
    family='f',
    plans=['min', 'max'],
    scores=[0, 1],
    flops=[100, 101],
    total_flops=[1000, 1000],
    label=1,
  )


def test_answers_are_joined_by_their_question(tmp_path, monkeypatch):
  """By their place, the plans' answers could be those to different ones."""

  def answers(under_test, stream, count, selection, *rest):
    rows = [
      dict(
        index=i,
        family='f',
        score=float(i > 1),
        llm_prefill_flops=i,
        total_flops=2 * i,
      )
      for i in range(4)
    ]
    return rows[::-1] if any(selection.plan) else rows

  monkeypatch.setattr(eval_run, 'answers', answers)
  rows = labels.label(run_of(tmp_path, config_lib.default()))
  assert [row['flops'] for row in rows] == [[i, i] for i in range(4)]
  assert [row['label'] for row in rows] == [None, None, 0, 0]


def test_a_router_of_other_plans_learns_no_further(tmp_path):
  """Nor is it calibrated for these, which it has not learned to choose."""
  run = run_of(tmp_path, config_lib.default())
  run.workdir.calibration.parent.mkdir()
  run.workdir.calibration.write_text('{"plans": ["min", "0", "max"]}')
  with pytest.raises(
    errors.Refusal, match='router is of .*; remove the folder'
  ):
    train.train_router(run, 'policy')


def test_loading_before_labelling_says_what_to_run(tmp_path):
  with pytest.raises(ValueError, match='run the label stage first'):
    outcomes.labels(workdir_lib.Workdir(tmp_path), TWO, range(3))


@pytest.mark.parametrize(
  'of,least,most', [('prefill', 0.327, 1.034), ('total', 0.532, 1.025)]
)
def test_a_budget_that_no_router_can_spend_is_refused(of, least, most):
  """Before it learns: it would be the cheapest plan always."""
  config = quickstart.get_config()
  config.policy.loss, config.policy.budget_of = 'reward', of
  rows = [
    dict(
      index=i,
      id=i,
      family='f',
      scores=[0, 1],
      label=1,
      flops=[1.27e6, 4.35e6],  # and the router's 0.15e6
      total_flops=[3.04e6, 6e6],
    )
    for i in range(4)
  ]
  for config.policy.budget in (least + 0.001, 0.7, 1):
    labels.split(rows, config)
  for config.policy.budget in (0.28, least - 0.001):
    with pytest.raises(
      errors.Refusal,
      match=rf'policy.budget is {config.policy.budget:g}: this router spends '
      rf'from {least} .* to {most} .*{"prefill" if of == "prefill" else "end"}',
    ):
      labels.split(rows, config)
  config.policy.loss = 'labels'  # where no budget is learned
  labels.split(rows, config)


def test_a_family_that_is_left_out_is_neither_learned_nor_calibrated_with():
  rows = [
    dict(
      index=i,
      id=i,
      family='ab'[i % 2],
      label=None if i == 4 else 0,
      scores=[0.0, float(i != 4)],
      flops=[1e11, (1 + i) * 1e12],
      total_flops=[2e12, (3 + i) * 1e12],
    )
    for i in range(8)
  ]
  config = config_lib.default()
  learn, held_out = labels.split(rows, config)
  assert learn == [(i, [0]) for i in (0, 1, 2, 3, 5)] and held_out == rows[6:]
  config.policy.loss = 'reward'  # has something to learn where all are wrong
  rewards, held_out = labels.split(rows, config)
  assert [number for number, _ in rewards] == [*range(6)]
  assert held_out == rows[6:]
  scores, costs = np.array([target[0, 1] for _, target in rewards]).T
  assert scores.tolist() == [1, 1, 1, 1, 0, 1]
  np.testing.assert_allclose(costs, (1 + np.arange(6)) / 3.5, rtol=1e-6)
  config.policy.budget_of = 'total'
  costs = [target[0, 1, 1] for _, target in labels.split(rows, config)[0]]
  np.testing.assert_allclose(costs, (3 + np.arange(6)) / 5.5, rtol=1e-6)
  del rows[0]['total_flops']
  with pytest.raises(ValueError, match='policy.budget_of is total.*prefill'):
    labels.split(rows, config)
  config.policy.loss = 'labels'
  config.policy.without = ('b',)
  learn, held_out = labels.split(rows, config)
  assert learn == [(0, [0]), (2, [0])] and held_out == [rows[6]]
  config.policy.without = ('a', 'b')
  with pytest.raises(ValueError, match='leave fewer families out'):
    labels.split(rows, config)
  config.policy.without, config.label.held_out = ('b',), 0.125
  with pytest.raises(ValueError, match='none of 8 labels is left to calibrate'):
    labels.split(rows, config)
  config.policy.without = ('c',)
  with pytest.raises(ValueError, match='names c; the labels are of a, b'):
    labels.split(rows, config)


# Calibration on what was held out ---------------------------------------------


def calibrated(tmp_path, monkeypatch, scores, right, **policy):
  """Calibration of a router with these scores on questions of two plans."""
  monkeypatch.setattr(
    calibrate,
    '_route',
    lambda under_test, rows, size: (
      np.float32([scores[r['index']] for r in rows]),
      np.array([r['flops'] for r in rows]),
    ),
  )
  rows = [
    dict(index=i, scores=r, flops=[1.0, 5.0], total_flops=[11.0, 15.0])
    for i, r in enumerate(right)
  ]
  config = config_lib.default()
  config.eval.batch = 2
  for key, value in policy.items():
    config.policy[key] = value
  run = run_of(tmp_path, config)
  calibrate.calibrate(run, run.model('policy', TWO), rows)
  saved = json.loads(run.workdir.calibration.read_text())
  assert saved['plans'] == ['min', 'max']
  assert saved['too_long'] == saved['broken'] == saved['repeated'] == 0
  for point in saved['curve']:  # beside the LLM, ten of fifteen
    assert point['total'] == pytest.approx((10 + 5 * point['share']) / 15)
  logged = files.read_jsonl(run.workdir.metrics('calibration'))
  assert [row | dict(step=i) for i, row in enumerate(saved['curve'], 1)] == (
    logged
  )
  return saved


# The router is 0.88 sure of plan 0 on the first two, and right once.
SURE = [[2.0, 0.0], [2.0, 0.0], [-2.0, 0.0]]
RIGHT = [[1, 1], [0, 1], [0, 1]]


@pytest.mark.parametrize(
  'keep,accuracy,flops',
  [(1.0, 1.0, 5.0), (0.6, 2 / 3, (1 + 1 + 5) / 3), (0.3, 1 / 3, 1.0)],
)
def test_the_cheapest_confidence_that_keeps_accuracy(
  keep, accuracy, flops, tmp_path, monkeypatch
):
  saved = calibrated(tmp_path, monkeypatch, SURE, RIGHT, keep=keep)
  point = next(
    p for p in saved['curve'] if p['confidence'] == saved['confidence']
  )
  assert point['accuracy'] == pytest.approx(accuracy)
  assert point['flops'] == pytest.approx(flops)
  assert confidence(tmp_path) == saved['confidence']
  assert saved['argmax']['accuracy'] == pytest.approx(2 / 3)


def test_a_given_confidence_and_argmax_are_taken_as_they_are(
  tmp_path, monkeypatch
):
  given = calibrated(tmp_path, monkeypatch, SURE, RIGHT, confidence=0.42)
  assert given['confidence'] == 0.42
  given = calibrated(tmp_path, monkeypatch, SURE, RIGHT, select='argmax')
  assert given['confidence'] is None and confidence(tmp_path) is None


def test_budgets_are_solved_on_the_curve(tmp_path, monkeypatch):
  """max takes 5 for every question; the router 1 or 5, and nothing itself."""
  saved = calibrated(tmp_path, monkeypatch, SURE, RIGHT)
  assert [p['share'] for p in saved['curve']] == pytest.approx(
    [1 / 5, (1 + 1 + 5) / 15, 1]
  )  # alike questions stay together
  of = functools.partial(confidence, tmp_path)
  mix = of(budget=1 / 3)
  assert mix.low == 0 and mix.share == pytest.approx(0.5)
  assert saved['curve'][1]['confidence'] == mix.high
  assert of() == saved['confidence'] == of(drop=0.01)
  with pytest.raises(ValueError, match='from 0.200 .* to 1.000'):
    of(budget=0.1)


def test_a_router_that_is_sure_and_wrong_is_not_believed(tmp_path, monkeypatch):
  """Confidence 1 is the largest plan always, however sure the router is."""
  saved = calibrated(tmp_path, monkeypatch, [[20.0, 0.0]] * 3, [[0, 1]] * 3)
  assert saved['curve'][-1]['accuracy'] == 1.0

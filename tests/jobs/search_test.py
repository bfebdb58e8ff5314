"""Which plans are worth keeping, by hand."""

import dataclasses
import itertools
import json
import types

import numpy as np
import pytest

from tests import rows
from visor_jax import config as config_lib
from visor_jax.data.suites import digits
from visor_jax.eval import run as eval_run
from visor_jax.jobs import candidates
from visor_jax.jobs import halving
from visor_jax.jobs import search
from visor_jax.runtime import files
from visor_jax.runtime import outcomes
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib

THREE = plans.Layout((plans.TEXT,) + (plans.SELF,) * 3, (1, 2, 3))


def bits(text):
  return tuple(c == '1' for c in text)


def text(plan):
  return ''.join(str(int(on)) for on in plan)


def front(tried, most=9):
  """front of {'010': (accuracy, FLOPs)}, as words."""
  plans_found = search.front(
    {bits(p): v for p, v in tried.items()}, THREE, most
  )
  return ' '.join(map(text, plans_found))


@pytest.mark.parametrize(
  'tried,want',
  [
    # Each step up costs and pays.
    (
      {'000': (0.1, 1), '001': (0.5, 2), '011': (0.7, 3), '111': (0.9, 4)},
      '000 001 011 111',
    ),
    # 010 costs more than 001 and is worse, 100 costs as much and is worse.
    (
      {
        '000': (0.1, 1),
        '001': (0.5, 2),
        '010': (0.4, 3),
        '100': (0.3, 2),
        '111': (0.9, 4),
      },
      '000 001 111',
    ),
    # A tie in accuracy goes to the cheaper, a tie in both to one of them.
    (
      {'000': (0.1, 1), '001': (0.5, 2), '010': (0.5, 3), '111': (0.9, 4)},
      '000 001 111',
    ),
    (
      {'000': (0.1, 1), '001': (0.5, 2), '010': (0.5, 2), '111': (0.9, 4)},
      '000 001 111',
    ),
    # The smallest is best: what costs more and gives no more goes, max stays.
    (
      {'000': (0.9, 1), '001': (0.5, 2), '010': (0.9, 3), '111': (0.2, 4)},
      '000 111',
    ),
    # An inner plan may be better than the largest.
    ({'000': (0.1, 1), '001': (0.95, 2), '111': (0.9, 4)}, '000 001 111'),
    ({'000': (0.1, 1), '111': (0.9, 4)}, '000 111'),
    ({'000': (0.0, 1), '010': (0.0, 2), '111': (0.0, 4)}, '000 111'),
    # The order in which plans were tried does not matter.
    (
      {'111': (0.9, 4), '011': (0.7, 3), '001': (0.5, 2), '000': (0.1, 1)},
      '000 001 011 111',
    ),
  ],
)
def test_the_front_by_hand(tried, want):
  assert front(tried) == want


@pytest.mark.parametrize(
  'most,want',
  [
    (5, '000 001 010 011 111'),
    (4, '000 001 011 111'),
    (3, '000 001 111'),
    (2, '000 111'),
  ],
)
def test_too_many_lose_those_that_gain_least(most, want):
  """The router has `max_plans` outputs; near twins are the least loss."""
  tried = {
    '000': (0.1, 1),
    '001': (0.5, 2),
    '010': (0.52, 3),
    '011': (0.7, 4),
    '111': (0.9, 5),
  }
  assert front(tried, most) == want


@pytest.mark.parametrize('seed', range(10))
def test_the_front_against_its_definition(seed):
  """A plan stays where every plan that costs no more is worse."""
  rng = np.random.default_rng(seed)
  tried = {
    p: (rng.integers(6) / 5, int(rng.integers(2, 6))) for p in THREE.plans
  }
  tried[THREE.min] = (rng.integers(6) / 5, 1)
  tried[THREE.max] = (rng.integers(6) / 5, 6)
  viable = search.front(tried, THREE, 9)
  assert viable[0] == THREE.min and viable[-1] == THREE.max
  assert len(set(viable)) == len(viable)
  inner = set(viable[1:-1])
  for plan in set(tried) - {THREE.min, THREE.max}:
    beaten = [
      q
      for q in tried
      if q not in (plan, THREE.max)
      and tried[q][1] <= tried[plan][1]
      and tried[q][0] >= tried[plan][0]
    ]
    twins = [q for q in beaten if tried[q] == tried[plan]]
    if not beaten:
      assert plan in inner
    if set(beaten) - set(twins):
      assert plan not in inner
  costs = [tried[p][1] for p in viable]
  assert costs == sorted(costs)
  for most in (2, 3):
    few = search.front(tried, THREE, most)
    assert len(few) <= most and set(few) <= set(viable)
    assert few[0] == THREE.min and few[-1] == THREE.max


@pytest.mark.parametrize('count', [1, 2, 3, 8, 9])
def test_greedy_visits_a_quadratic_number_of_plans(count):
  """28 layers have 512 plans; 46 evaluations are an hour, 512 a day."""
  layout = plans.Layout((plans.SELF,) * count, tuple(range(count)))
  asked = []
  for plans_ in candidates.greedy(layout, lambda p: asked.index(p)):
    asked += plans_
  assert len(asked) == len(set(asked)) == count * (count + 1) // 2 + 1
  assert asked[0] == layout.min and asked[-1] == layout.max


def test_greedy_adds_the_layer_that_helps_most():
  worth = (1, 5, 3)
  plans_found = candidates.greedy(
    THREE, lambda p: sum(itertools.compress(worth, p))
  )
  assert [[*map(text, round_)] for round_ in plans_found] == [
    ['000'],
    ['100', '010', '001'],
    ['110', '011'],
    ['111'],
  ]


# The search itself, with answers that cost nothing ----------------------------


def config(**values):
  c = config_lib.default()
  for key, value in values.items():
    c.search[key] = value
  return c


@pytest.fixture
def asked(monkeypatch):
  """Plans that were asked; a layer is worth 0.1 * its number, and costs 1."""
  plans_asked = []

  def answers(under_test, stream, count, selection, folder, options, score):
    assert (stream, count) == ('search', 4)
    plans_asked.append(selection.plan)
    on = [i for i, on in enumerate(selection.plan) if on]
    answer = dict(score=0.1 * sum(on), llm_prefill_flops=10 + len(on))
    return [answer] * len(under_test.suite.fit(stream, count).numbers)

  monkeypatch.setattr(eval_run, 'answers', answers)
  return plans_asked


UNDER_TEST = types.SimpleNamespace(
  model=rows.tiny(
    THREE, router_options=dataclasses.replace(rows.ROUTER, plans=9)
  ),
  suite=digits.Suite(0),
)


class Crowded(digits.Suite):
  """One question does not fit, and another one's record is broken."""

  def fit(self, stream, count):
    return dataclasses.replace(
      super().fit(stream, count), too_long=(1,), broken={2: 'no image'}
    )


def search_in(folder, under_test=None, **options):
  """Searches the plans of the tiny model."""
  run = types.SimpleNamespace(
    config=config(**options),
    workdir=workdir_lib.Workdir(folder),
    model=lambda stage: under_test or UNDER_TEST,
  )
  return search.search(run)


def viable_plans(folder):
  return outcomes.viable_plans(workdir_lib.Workdir(folder), THREE)


def bill(tmp_path):
  workdir = workdir_lib.Workdir(tmp_path)
  saved = json.loads(workdir.plans.read_text())
  logged = files.read_jsonl(workdir.metrics('search'))
  assert logged == [
    dict(step=i, accuracy=row['accuracy'], llm_prefill_flops=row['flops'])
    for i, row in enumerate(saved['evaluated'], start=1)
  ]
  return saved['evaluations'], saved['exhaustive_would_be']


@pytest.mark.parametrize('exhaustive,count', [(3, 8), (2, 7)])
def test_few_layers_are_searched_wholly_many_greedily(
  exhaustive, count, asked, tmp_path
):
  viable = search_in(tmp_path, examples=4, exhaustive=exhaustive)
  assert len(asked) == len(set(asked)) == count  # nothing is asked twice
  assert viable_plans(tmp_path) == viable
  assert viable[0] == THREE.min and viable[-1] == THREE.max
  # Layer 2 is worth most, then 1 and 2; layer 0 is worth nothing.
  assert ' '.join(map(text, viable)) == '000 001 011 111'
  saved = json.loads((tmp_path / 'search' / 'plans.json').read_text())
  assert len(saved['evaluated']) == count


@pytest.mark.parametrize('exhaustive', [3, 2])
def test_the_bill_is_told_before_and_kept(exhaustive, asked, tmp_path, capsys):
  """Questions have 10 visual and 2 to 3 text tokens; FLOPs as the formulas."""
  search_in(tmp_path, examples=4, exhaustive=exhaustive)
  printed = capsys.readouterr().out
  plans_ = 8 if exhaustive == 3 else 7
  assert printed.index(
    f'{plans_} plans, {plans_ * 4} questions'
  ) < printed.index('plan min, 4 of 4 questions')
  assert '8 plans, 32 questions' in printed and 'ETA' in printed
  did, exhaustive_bill = bill(tmp_path)
  assert (did['plans'], did['questions']) == (plans_, 4 * plans_)
  assert did['flops'] == 4 * sum(10 + sum(p) for p in asked)
  price = search.prices(UNDER_TEST, 4)
  assert exhaustive_bill == dict(
    plans=8,
    questions=32,
    flops=(price[0] + 3 * price[1] + 3 * price[2] + price[3]),
  )
  assert price == sorted(price) and price[0] > 4 * 1000


@pytest.mark.parametrize(
  'budget,want', [(2, '000 111'), (4, '000 001 010 111'), (8, None), (0, None)]
)
def test_a_budget_of_every_plan(budget, want, asked, tmp_path):
  search_in(tmp_path, examples=4, budget=budget)
  assert len(asked) == (budget or 8)
  if want:
    assert {*map(text, asked)} == {'000', '111'} | {
      text(p) for p in THREE.plans[: budget - 1]
    }
  assert viable_plans(tmp_path)[-1] == THREE.max


def test_what_was_not_asked_is_in_the_bill(asked, tmp_path):
  crowded = types.SimpleNamespace(**vars(UNDER_TEST) | dict(suite=Crowded(0)))
  search_in(tmp_path, crowded, examples=4)
  did, _ = bill(tmp_path)
  assert (did['too_long'], did['broken'], did['questions']) == (1, 1, 8 * 2)


def test_a_budget_of_greed(asked, tmp_path):
  """As far as it goes, and the largest plan in any case."""
  search_in(tmp_path, examples=4, exhaustive=0, budget=6)
  assert [*map(text, asked)] == ['000', '100', '010', '001', '101', '111']
  assert bill(tmp_path)[0]['plans'] == 6


def test_answers_that_were_there_tell_no_time(asked, tmp_path, capsys):
  for plan in ('min', '0'):
    (tmp_path / 'search' / 'answers' / plan).mkdir(parents=True)
  search_in(tmp_path, examples=4)
  lines = [l for l in capsys.readouterr().out.splitlines() if ' of 4 q' in l]
  known = ['plan min,' in l or 'plan 0, ' in l for l in lines]
  assert sum(known) == 2
  first = known.index(False)
  assert ['ETA' in l for l in lines] == [i >= first for i in range(8)]


def test_loading_before_searching_says_what_to_run(tmp_path):
  with pytest.raises(ValueError, match='run the search stage first'):
    viable_plans(tmp_path)


def test_what_is_clearly_worse_is_asked_a_part(monkeypatch, tmp_path, capsys):
  """The plans are those of a search that asks everything of all."""
  rng = np.random.default_rng(0)
  draws = {plan: rng.random(512) for plan in THREE.plans}
  asked = []

  def answers(under_test, stream, count, selection, folder, options, score):
    plan = selection.plan
    asked.append((plan, count, options.chunk))
    right = draws[plan] < 0.3 + 0.4 * plan[1] + 0.2 * plan[2] - 0.2 * plan[0]
    cost = 10 + sum(plan)
    return [dict(score=float(x), llm_prefill_flops=cost) for x in right[:count]]

  monkeypatch.setattr(eval_run, 'answers', answers)
  viable = search_in(tmp_path, examples=512)
  monkeypatch.setattr(halving, 'ERRORS', np.inf)
  assert search_in(tmp_path / 'all', examples=512) == viable
  assert ' '.join(map(text, viable)) == '000 010 011 111'
  assert {chunk for _, _, chunk in asked} == {128}
  evaluated = json.loads((tmp_path / 'search/plans.json').read_text())
  rows_ = {tuple(row['plan']): row for row in evaluated['evaluated']}
  counts = {text(plan): row['questions'] for plan, row in rows_.items()}
  left_out = {plan: n for plan, n in counts.items() if n < 512}
  assert left_out.keys() == {'100', '001', '110', '101'}
  assert {*left_out.values()} == {128, 256}
  did, _ = bill(tmp_path)
  assert did['questions'] == sum(counts.values()) == 4096 - did['saved']
  error = rows_[0, 1, 0]['error']
  assert error == pytest.approx((0.7 * 0.3 / 512) ** 0.5, rel=0.1)
  printed = capsys.readouterr().out
  assert f'{did["saved"]} of 4096 questions were saved' in printed
  assert 'plan 0 is asked no further: 1, which costs no more, is' in printed

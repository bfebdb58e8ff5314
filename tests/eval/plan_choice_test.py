"""Plans, budgets and drops: what a checkpoint may be asked for."""

import dataclasses

import numpy as np
import pytest

from tests import llava
from tests import questions
from tests import trained as trained_lib
import visor_jax
from visor_jax.eval import costs
from visor_jax.spec import budget
from visor_jax.spec import plan as plans


@pytest.fixture(scope='module')
def oracle(tmp_path_factory):
  return llava.Oracle(tmp_path_factory.mktemp('llava') / 'hf', tied=False)


@pytest.fixture(scope='module')
def model(oracle):
  return visor_jax.load(oracle.folder)


@pytest.fixture(scope='module')
def trained(model):
  return trained_lib.in_memory(model.source)


def test_the_router_answers_as_the_plan_it_chose(trained):
  """Grouped by plan, in the order of the questions."""
  asked = questions.ASKED * 2
  routed = trained.generate(*zip(*asked), max_new_tokens=8)
  assert {a.selector for a in routed} == {'router'}
  assert len({a.plan for a in routed}) == 2
  fixed = {
    p: trained.generate(*zip(*asked), plans.name(p), max_new_tokens=8)
    for p in trained.facts.viable
  }
  for i, a in enumerate(routed):
    same = fixed[a.plan][i]
    assert (a.text, a.text_tokens) == (same.text, same.text_tokens)
    assert a.llm_prefill_flops > same.llm_prefill_flops  # routing is counted


@pytest.mark.parametrize(
  'parts,plan',
  [(('cross', 'router'), 'router'), (('cross',), 'max'), ((), 'base')],
)
def test_where_nobody_says_it_answers_as_it_was_trained_to(
  trained, parts, plan
):
  """Layers that were trained beside CROSS layers are no base any more."""
  facts = dataclasses.replace(trained.facts, trained=parts)
  choice = dataclasses.replace(trained.asked.choice, facts=facts)
  size = costs.PromptSize(8, 8, (1,))
  assert choice.select({}, size) == choice.parse(plan)


@pytest.mark.parametrize(
  'options,why',
  [
    (dict(plan=0), 'plan is 0; expected a text'),
    (dict(budget='0.5'), "budget is '0.5'; expected a number"),
    (dict(drop=True), 'drop is True; expected a number'),
    (dict(plan='router-1.1'), 'from 0 to 1'),
    (dict(max_new_tokens=2.5), 'max_new_tokens is 2.5; expected a whole'),
    (dict(temperature='hot'), "temperature is 'hot'; expected a finite"),
    (dict(top_p=None), 'top_p is None; expected a number above 0'),
  ],
)
def test_what_is_of_the_wrong_kind_is_named(trained, options, why):
  with pytest.raises(ValueError, match=why):
    trained.generate(*questions.ASKED[0], **options)


def test_nothing_asked_is_nothing_answered(trained):
  assert trained.generate([], []) == trained.logits([], [], 'max') == []


def test_a_budget_is_the_dearest_plan_within_it(trained):
  share = {}
  for plan in ('min', 'max'):
    share[plan] = trained.generate(
      *questions.ASKED[0], plan, max_new_tokens=1
    ).llm_prefill_flops
  less = share['min'] / share['max']
  of = lambda budget: plans.name(
    trained.generate(*questions.ASKED[0], budget=budget, max_new_tokens=1).plan
  )
  assert of(1.0) == 'max' and of((1 + less) / 2) == of(less + 1e-6) == 'min'
  with pytest.raises(ValueError, match='budget 0.01.*cheapest plan takes'):
    of(0.01)
  whole = {
    plan: trained.generate(
      *questions.ASKED[0], plan, max_new_tokens=1
    ).total_flops
    for plan in ('min', 'max')
  }
  more = whole['min'] / whole['max']
  assert more > less  # both read the image
  of = lambda budget: plans.name(
    trained.generate(
      *questions.ASKED[0], budget=budget, budget_of='total', max_new_tokens=1
    ).plan
  )
  assert of(1.0) == 'max' and of(more + 1e-6) == 'min'
  with pytest.raises(ValueError, match=f'takes {more:.3f} of .*end to end'):
    of(more - 1e-6)
  with pytest.raises(ValueError, match="budget_of 'total' goes with a budget"):
    trained.generate(*questions.ASKED[0], 'max', budget_of='total')
  with pytest.raises(ValueError, match='a plan or a budget'):
    trained.generate(*questions.ASKED[0], 'max', budget=1.0)


def test_a_calibrated_router_spends_a_budget(trained):
  """Half of the questions get max: by scores, not by prompts; a drop, too."""
  calibrated = dataclasses.replace(
    trained,
    facts=dataclasses.replace(
      trained.facts,
      confidence=1.0,
      curve=(
        budget.Point(0.0, 0.5, 0.5, 0.4),
        budget.Point(0.5, 0.7, 0.9, 0.8),
        budget.Point(1.0, 1.1, 1.0, 1.0),
      ),
    ),
  )
  asked = questions.ASKED * 2
  of = lambda **kwargs: [
    plans.name(a.plan)
    for a in calibrated.generate(*zip(*asked), max_new_tokens=1, **kwargs)
  ]
  routed = of(budget=0.7)  # confidence .5
  assert set(routed) == {'min', 'max'} and routed[:4] == routed[4:]
  assert (
    of(plan='router@0.7') == of(drop=0.2) == of(plan='router-0.2') == routed
  )
  assert set(of(budget=0.5)) == {'min'} and set(of(budget=1.1)) == {'max'}
  assert set(of()) == set(of(drop=0)) == {'max'}
  # More money never takes a layer away.
  more = [
    of(budget=b).count('max') for b in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
  ]
  assert more == sorted(more)
  with pytest.raises(ValueError, match='budget 0.4: .* from 0.500 .* to 1.100'):
    of(budget=0.4)
  with pytest.raises(ValueError, match='a plan or a budget or a drop'):
    of(budget=0.7, drop=0.1)


@pytest.mark.parametrize(
  'plan,why',
  [
    ('max', 'VISOR is untrained.*--allow-untrained'),
    ('router', 'VISOR is untrained'),
    ('0', 'VISOR is untrained'),
    ('base+base,', 'VISOR is untrained'),
  ],
)
def test_an_import_answers_as_the_base_alone(model, plan, why):
  with pytest.raises(ValueError, match=why):
    model.generate(*questions.ASKED[0], plan)
  for target in (dict(budget=0.5), dict(drop=0.1)):
    with pytest.raises(ValueError, match='VISOR is untrained'):
      model.generate(*questions.ASKED[0], **target)


def test_fresh_weights_are_allowed_when_asked_for(model):
  """A fresh CROSS layer adds nothing, so text alone goes in."""
  fresh = visor_jax.load(model.source, allow_untrained=True)
  got = fresh.logits(*questions.ASKED[0], 'min')
  assert (
    got.shape == model.logits(*questions.ASKED[0]).shape
    and np.isfinite(got).all()
  )
  with pytest.raises(ValueError, match='the router is untrained'):
    fresh.generate(*questions.ASKED[0], 'router')
  with pytest.raises(ValueError, match='means 2 plans'):
    fresh.generate(*questions.ASKED[0], 'min+max')

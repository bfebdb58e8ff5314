"""Rows of results.jsonl, calculated by hand."""

import dataclasses

import pytest

from visor_jax.eval import results
from visor_jax.spec import plan as plans

BASE = plans.Selection('base')
MIN = plans.Selection('fixed', (False, False))
ROUTER = plans.Selection('router')


def answers(*values, plan=None):
  """Answers as (family, score, FLOPs), the plan for all or as a fourth.

  The tower takes 1000 for each and decoding 5; max would take 200.
  """
  base = {'ink': [90, 110], 'read': [300]}  # what the base takes for each
  base = {family: iter(flops) for family, flops in base.items()}
  answered = []
  for i, v in enumerate(values):
    dense = next(base[v[0]])
    answered.append(
      dict(
        index=i,
        family=v[0],
        score=v[1],
        llm_prefill_flops=v[2],
        visual_flops=v[2] - 7,
        vision_flops=1000,
        decode_flops=5,
        total_flops=v[2] + 1005,
        cache_bytes=32 + i,
        tokens=2,
        max_prefill_flops=200,
        max_total_flops=2000,
        base_prefill_flops=dense,
        base_total_flops=dense + 1010,
        plan=v[3] if len(v) > 3 else plan,
      )
    )
  return answered


ANSWERS = {
  BASE: answers(('ink', 1.0, 90), ('ink', 0.0, 110), ('read', 1.0, 300)),
  MIN: answers(
    ('ink', 1.0, 10), ('ink', 1.0, 10), ('read', 0.25, 20), plan=[0, 0]
  ),
  ROUTER: answers(
    ('ink', 1.0, 12, [0, 0]),
    ('ink', 1.0, 12, [0, 0]),
    ('read', 1.0, 60, [0, 1]),
  ),
}


def rows(answered=ANSWERS):
  table = results.rows(
    answered, {'ink': 'coarse', 'read': 'fine'}.get, seed=7, config='c0ffee'
  )
  return {(r['selector'], r['family']): r for r in table}


def test_a_row_for_every_family_and_selection():
  assert list(rows()) == [
    (s, f) for s in ('base', 'fixed', 'router') for f in ('ink', 'read')
  ]


@pytest.mark.parametrize(
  'key,accuracy,n,flops,saved,plan',
  [
    (('base', 'ink'), 0.5, 2, 100, 1, None),
    (('base', 'read'), 1, 1, 300, 1, None),
    (('fixed', 'ink'), 1, 2, 10, 10, [0, 0]),
    (('fixed', 'read'), 0.25, 1, 20, 15, [0, 0]),
    (('router', 'ink'), 1, 2, 12, 100 / 12, None),
    (('router', 'read'), 1, 1, 60, 5, None),
  ],
)
def test_means_and_savings(key, accuracy, n, flops, saved, plan):
  """Savings are a ratio of means: what a day of questions costs."""
  row = rows()[key]
  assert row['accuracy'] == accuracy and row['n'] == n
  assert row['llm_prefill_flops'] == flops and row['plan'] == plan
  assert row['flops_saved'] == pytest.approx(saved)
  assert row['group'] == {'ink': 'coarse', 'read': 'fine'}[key[1]]


def test_a_row_carries_its_stamp_and_how_it_was_counted():
  """A number without them cannot be compared with another run's."""
  for row in rows().values():
    assert row['seed'] == 7 and row['config'] == 'c0ffee'
    assert row['accounting'].startswith('nominal: FLOPs')
    assert 'without decoding, which the total adds: ' in row['accounting']


def test_costs_stand_beside_accuracy():
  row = rows()['fixed', 'ink']
  assert (
    row['visual_flops'],
    row['vision_flops'],
    row['decode_flops'],
    row['total_flops'],
    row['cache_bytes'],
    row['tokens'],
  ) == (3, 1000, 5, 1015, 32.5, 2)
  assert row['total_saved'] == pytest.approx((100 + 1010) / 1015)
  assert row['measured'] is None
  took = dict(first_token_s=0.5)
  answered = results.rows(ANSWERS, {}.get, {MIN: took})
  assert [r['measured'] for r in answered] == [None] * 2 + [took] * 2 + [
    None
  ] * 2


def test_a_promise_stands_beside_what_came():
  """Over all families: the router spends where it must, saves where it can."""
  asked, within = (
    plans.Selection('router', **of)
    for of in (dict(budget=0.1), dict(drop=0.25))
  )
  largest = plans.Selection('fixed', (True, True))
  whole = dataclasses.replace(asked, budget_of='total')
  answered = {
    whole: ANSWERS[ROUTER],
    asked: ANSWERS[ROUTER],
    within: ANSWERS[MIN],
    largest: answers(
      ('ink', 1.0, 200), ('ink', 1.0, 200), ('read', 1.0, 200), plan=[1, 1]
    ),
  }
  by = {
    (r.get('budget'), r.get('drop'), r['family']): r
    for r in results.rows(answered, {}.get)
    if r.get('budget_of') != 'total'
  }
  first = results.rows(answered, {}.get)[0]  # end to end, beside the tower
  assert first['budget_of'] == 'total' and first['promised'] == 0.1
  assert first['delivered'] == pytest.approx((84 + 3 * 1005) / 6000)
  assert 'ink/router@0.1total/accuracy' in results.numbers([first])
  for family in ('ink', 'read'):
    row = by[0.1, None, family]
    assert row['selector'] == 'router' and row['promised'] == 0.1
    assert row['delivered'] == pytest.approx((12 + 12 + 60) / 600)
    row = by[None, 0.25, family]
    assert row['promised'] == 0.75 and row['delivered'] == pytest.approx(0.75)
    assert 'promised' not in by[None, None, family]
  del answered[largest]
  assert (
    results.rows(answered, {}.get)[-1]['delivered'] is None
  )  # of max, unknown


def test_only_the_router_says_what_it_chose():
  answered = rows()
  assert answered['router', 'ink']['chosen'] == {'min': 2}
  assert answered['router', 'read']['chosen'] == {'1': 1}
  assert 'chosen' not in answered['base', 'ink']
  assert 'chosen' not in answered['fixed', 'ink']


def test_savings_need_no_answers_of_the_base():
  """What the base would take is a formula."""
  answered = rows({k: v for k, v in ANSWERS.items() if k != BASE})
  assert answered == {k: v for k, v in rows().items() if k[0] != 'base'}

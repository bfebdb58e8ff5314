"""Which questions are shown: what the plans and the router got right."""

import base64

from visor_jax.data.suites import digits
from visor_jax.data.suites import processor
from visor_jax.jobs import examples
from visor_jax.spec import plan as plans

SUITE = digits.Suite(0)
SMALL, LARGE = (False, False), (True, True)
ROUTER = plans.Selection('router')


def answers(flops, plan, scores):
  """To the first questions, right or wrong."""
  return [
    dict(
      index=index,
      family='read',
      question='read a',
      gold='3',
      answer='3' if score else '4',
      score=float(score),
      plan=plan,
      llm_prefill_flops=flops,
    )
    for index, score in enumerate(scores)
  ]


def test_every_question_is_of_one_kind():
  router = answers(5, [0, 1], (1, 1, 0, 0, 1, 1))
  small = answers(1, [0, 0], (1, 0, 1, 0, 1, 1))
  large = answers(9, [1, 1], (1, 1, 1, 0, 0, 1))
  rows = examples.rows(
    SUITE,
    'test',
    {
      plans.Selection('fixed', LARGE): large,
      plans.Selection('fixed', SMALL): small,
      ROUTER: router,
    },
  )
  of_kind = {row['kind']: row for row in rows}
  counts = {kind: row['count'] for kind, row in of_kind.items()}
  assert counts == dict(cheap=3, dear=1, wrong=1, lost=1)
  assert {row['family'] for row in rows} == {'read'}
  assert [s['index'] for s in of_kind['cheap']['shown']] == [0, 4]
  assert not of_kind['lost']['shown']
  (dear,) = of_kind['dear']['shown']
  assert dear['answers'] == {'max': '3', 'min': '4', 'router': '3'}
  picture = processor.png(SUITE.question('test', 1).images)
  assert base64.b64decode(dear['picture']) == picture


def test_without_a_router_there_is_nothing_to_tell():
  fixed = {plans.Selection('fixed', SMALL): answers(1, [0, 0], (1,))}
  assert examples.rows(SUITE, 'test', fixed) == []
  assert examples.rows(SUITE, 'test', {ROUTER: answers(1, [0, 0], (1,))}) == []

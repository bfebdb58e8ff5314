"""The verdict and what it must be held against."""

import pytest

from tests.report import result_rows
from visor_jax.report import average
from visor_jax.report import sentences


def test_verdict_is_honest():
  assert sentences.verdict(result_rows.rows()) == (
    "The router keeps **96.5 %** of the largest plan's accuracy (55.5 "
    'against 57.5 %) at **55.0 %** of its LLM prefill FLOPs; against the '
    'base model it saves **3.64x**.'
  )
  assert 'would reach 45.5 %' in sentences.rivals(result_rows.rows())
  assert 'gains 10.0 points' in sentences.rivals(result_rows.rows())


def test_a_base_that_answered_other_questions_is_not_held_against_the_rest():
  dense = [r | dict(selector='base', plan=None) for r in result_rows.rows()[:3]]
  told = 'The base model itself reaches 57.5 %.'
  assert told in sentences.rivals([*result_rows.rows(), *dense])
  assert sentences.rivals(dense) == told
  assert 'base' not in sentences.rivals([*result_rows.rows(), dense[0]])


def test_a_router_that_loses_is_reported_to_lose():
  rows = [
    r | {'accuracy': 0.1} if r['selector'] == 'router' else r
    for r in result_rows.rows()
  ]
  assert 'loses 35.5 points' in sentences.rivals(rows)


@pytest.mark.parametrize(
  'selector, part',
  (
    ('fixed', 'no router was evaluated yet'),
    ('router', 'the largest plan was not evaluated'),
    ('base', 'Neither the router nor the largest plan'),
  ),
)
def test_verdict_without_other_selectors(selector, part):
  rows = result_rows.rows() + [
    result_rows.make('count', 'coarse', None, 0.8, 9, 8e9, 1.0, 'base')
  ]
  left = [row for row in rows if row['selector'] == selector]
  assert part in sentences.verdict(left)


def test_routers_with_targets_are_not_the_router():
  rows = [*result_rows.rows(), *result_rows.promised()]
  names = [s.name for s in average.summaries(rows)]
  assert names == [
    'max',
    'min',
    'router-0.01',
    'router',
    'router@0.5',
    'router-0.5',
    'router@0.3',
  ]
  assert not any(s.is_fixed for s in average.summaries(rows)[2:])
  assert sentences.verdict(rows) == sentences.verdict(result_rows.rows())
  assert sentences.rivals(rows) == sentences.rivals(result_rows.rows())


def test_a_router_with_a_target_alone_is_told_by_its_name():
  """The best of them; nobody who reads its row is told there is none."""
  targets = [*result_rows.promised()]
  assert sentences.verdict(targets).startswith(
    'The router-0.01 reaches **80.0 %** and saves **8.00x** in LLM prefill '
  )
  plans = [
    result_rows.make(row['family'], row['group'], [1], 1.0, 100, 6e9, 4.0)
    for row in targets[::4]
  ]
  assert sentences.verdict([*targets, *plans]).startswith(
    "The router-0.01 keeps **80.0 %** of the largest plan's accuracy (80.0 "
    'against 100.0 %) at **50.0 %**'
  )


def test_with_fewer_visual_tokens_the_router_is_held_against_max_with_them():
  rows = result_rows.rows()
  fewer = [row | {'method': 'pack:2'} for row in rows]
  told = sentences.verdict(rows)
  assert sentences.verdict([*rows, *fewer]) == told
  assert sentences.verdict(fewer) == told.replace('router', 'router pack:2')
  routed = [row for row in fewer if row['selector'] == 'router']
  largest = [row for row in rows if row['plan'] == [1, 1]]
  assert sentences.verdict([*largest, *routed]).endswith(
    'the largest plan was not evaluated with pack:2.'
  )


def test_rivals_change_nothing_of_visors_own():
  alone = result_rows.rows()
  beside = [*alone, *result_rows.rivals()]
  summaries = result_rows.by_name(alone)
  summaries_beside = result_rows.by_name(beside)
  assert {name: summaries_beside[name] for name in summaries} == summaries
  assert sentences.verdict(beside) == sentences.verdict(alone)
  assert sentences.rivals(beside).startswith(sentences.rivals(alone))


def test_the_page_says_where_visor_lies_below():
  text = sentences.rivals([*result_rows.rows(), *result_rows.rivals()])
  assert 'On the fine group VISOR lies above **0 of 2** settings' in text
  assert 'below 1: fastv:2:0.5 (90.0 against 50.0 % of max, at ' in text
  assert '1 cost less than every plan' in text
  assert 'coarse group VISOR lies above **0 of 2**' in text


def test_rivals_are_held_against_what_costs_no_more_end_to_end_first():
  """Where all say it: the tower makes what is cheap to read as dear as all."""
  rows = [*result_rows.rows(), *result_rows.rivals()]
  text = sentences.rivals(
    row | dict(total_flops=row['llm_prefill_flops'] + 1e10, total_saved=1.0)
    for row in rows
  )
  end_to_end, prefill = (
    text.index(f'**0 of 2** settings of other methods, at no more {of}')
    for of in ('FLOPs end to end', 'LLM prefill FLOPs')
  )
  assert end_to_end < prefill
  assert 'FLOPs end to end' not in sentences.rivals(rows)


def test_what_was_not_asked_is_told_once_for_those_that_share_it():
  rows = [row | dict(too_long=0, broken=0) for row in result_rows.rows()]
  assert (
    sentences.left_out(rows) == sentences.left_out(result_rows.rows()) == []
  )
  rows[0] |= dict(too_long=3)
  rows += [
    rows[0],
    rows[0] | dict(family='docvqa'),
    rows[1] | dict(broken=2, repeated=1),
  ]
  assert sentences.left_out(rows) == [
    f'Not asked of {rows[0]["family"]}, docvqa: 3 questions that do not fit '
    'data.prompt.',
    f'Not asked of {rows[1]["family"]}: 2 questions that are of broken '
    'records, 1 questions that are asked before.',
  ]


def test_rivals_alone_say_nothing_of_visor():
  assert sentences.rivals(result_rows.rivals()) == ''

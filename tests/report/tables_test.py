"""Averages, tables and verdict, against numbers worked out by hand."""

import pytest

from visor_jax.report import average
from visor_jax.report import costs
from visor_jax.report import tables


def _row(family, group, plan, accuracy, n, flops, saved, selector='fixed'):
  return dict(
    family=family,
    group=group,
    selector=selector,
    plan=plan,
    n=n,
    accuracy=accuracy,
    llm_prefill_flops=flops,
    flops_saved=saved,
  )


def _rows():
  return [
    _row('count', 'coarse', [1, 1], 0.8, 100, 4e9, 2.0),
    _row('colour', 'coarse', [1, 1], 0.6, 300, 2e9, 2.0),
    _row('digits', 'fine', [1, 1], 0.5, 100, 5e9, 2.0),
    _row('count', 'coarse', [0, 0], 0.8, 100, 1e9, 8.0),
    _row('colour', 'coarse', [0, 0], 0.6, 300, 0.5e9, 8.0),
    _row('digits', 'fine', [0, 0], 0.1, 100, 1.25e9, 8.0),
    _row('count', 'coarse', None, 0.8, 100, 1e9, 8.0, 'router'),
    _row('colour', 'coarse', None, 0.6, 300, 0.5e9, 8.0, 'router'),
    _row('digits', 'fine', None, 0.46, 100, 3.5e9, 10 / 3.5, 'router'),
  ]


def _named(rows):
  return {score.name: score for score in average.scores(rows)}


def test_questions_count_alike_in_a_group_and_groups_count_half():
  largest = _named(_rows())['max']
  assert largest.means['coarse'].accuracy == pytest.approx(0.65)
  assert largest.means['fine'].accuracy == pytest.approx(0.5)
  assert largest.all.accuracy == pytest.approx(0.575)
  assert largest.means['coarse'].flops == pytest.approx(2.5e9)
  assert largest.all.flops == pytest.approx(3.75e9)


def test_saving_is_a_ratio_of_means():
  router = _named(_rows())['router']
  # Own: half of .625 and 3.5 G; the base's: half of 5 and 10 G.
  assert router.all.flops == pytest.approx(2.0625e9)
  assert router.all.saved == pytest.approx(7.5 / 2.0625)


def test_standard_error_of_one_family():
  fine = _named(_rows())['max'].means['fine']
  assert fine.error == pytest.approx((0.5 * 0.5 / 100) ** 0.5)


def test_scores_come_base_first_then_costly_to_cheap_then_router():
  rows = _rows() + [_row('count', 'coarse', None, 0.8, 9, 8e9, 1.0, 'base')]
  names = [score.name for score in average.scores(rows)]
  assert names == ['base', 'max', 'min', 'router']


def test_a_later_row_replaces_an_earlier_one():
  again = _row('digits', 'fine', (True, True), 0.9, 100, 5e9, 2.0)
  largest = _named(_rows() + [again])['max']
  assert largest.means['fine'].accuracy == pytest.approx(0.9)


def test_one_group_alone_is_the_whole():
  scores = _named([r for r in _rows() if r['group'] == 'coarse'])
  assert scores['max'].all == scores['max'].means['coarse']
  assert 'fine' not in scores['max'].means


def test_front_leaves_out_plans_that_a_cheaper_one_reaches():
  rows = [
    _row('a', 'fine', plan, accuracy, 10, flops, 1.0)
    for plan, accuracy, flops in (
      ([0, 0], 0.5, 1e9),
      ([0, 1], 0.4, 2e9),
      ([1, 0], 0.7, 2e9),
      ([1, 1], 0.7, 3e9),
    )
  ]
  best = average.front(average.scores(rows), 'fine')
  assert [score.name for score in best] == ['min', '0']


def test_a_blind_mix_lies_on_the_line_between_two_plans():
  scores = average.scores(_rows())
  # min: .375 at .9375 G, max: .575 at 3.75 G; 2.0625 G is 40 % of the way.
  assert average.blind(scores, 2.0625e9).accuracy == pytest.approx(0.455)
  assert average.blind(scores, 9e9).accuracy == pytest.approx(0.575)
  assert average.blind(scores, 1e8) is None


def test_order_of_plan_names():
  names = ['max', '0,2', '10', '2', 'min']
  assert sorted(names, key=average.order) == ['min', '2', '10', '0,2', 'max']


def test_a_name_that_is_no_plan_is_named():
  with pytest.raises(ValueError, match='"large" is not the name of a plan'):
    average.order('large')


def test_summary_holds_the_numbers():
  lines = tables.summary(_rows()).splitlines()
  cells = [[c.strip() for c in line.strip('|').split('|')] for line in lines]
  assert cells[0] == [
    'plan',
    'coarse %',
    'fine %',
    'all %',
    '± %',
    'GFLOPs',
    'saved',
    '% of max acc.',
    '% of max cost',
  ]
  assert cells[2] == [
    'max',
    '65.0',
    '50.0',
    '57.5',
    '2.8',
    '3.75',
    '2.00x',
    '100.0',
    '100.0',
  ]
  assert cells[4][0] == 'router'
  assert cells[4][-2:] == ['96.5', '55.0']
  assert len({len(line) for line in lines}) == 1  # aligned


def test_families_table_has_a_line_for_each():
  text = tables.families(_rows())
  assert '| digits | fine   |       100 | 50.0 | 10.0 |   46.0 |' in text
  assert text.index('count') < text.index('digits')


def test_a_family_may_have_any_name():
  rows = [_row('a|b', 'fine', [1], 0.5, 10, 1e9, 1.0)]
  assert 'a\\|b' in tables.families(rows)


def test_a_family_without_its_judge_is_marked():
  rows = [
    r | {'judged': False} if r['family'] == 'count' else r for r in _rows()
  ]
  text = tables.families(rows)
  assert '| count†' in text and text.count('†') == 2 and 'judge' in text
  assert '†' not in tables.families(_rows())


def test_other_questions_are_marked_and_not_compared():
  rows = [
    r
    for r in _rows()
    if not (r['selector'] == 'router' and r['family'] == 'count')
  ]
  text = tables.summary(rows)
  assert 'router*' in text and 'not to be compared' in text
  assert 'keeps' not in tables.verdict(rows)
  assert 'blindly' not in tables.rivals(rows)


def test_verdict_is_honest():
  assert tables.verdict(_rows()) == (
    "The router keeps **96.5 %** of the largest plan's accuracy (55.5 "
    'against 57.5 %) at **55.0 %** of its LLM prefill FLOPs; against the '
    'base model it saves **3.64x**.'
  )
  assert 'would reach 45.5 %' in tables.rivals(_rows())
  assert 'gains 10.0 points' in tables.rivals(_rows())


def test_a_router_that_loses_is_said_to_lose():
  rows = [
    r | {'accuracy': 0.1} if r['selector'] == 'router' else r for r in _rows()
  ]
  assert 'loses 35.5 points' in tables.rivals(rows)


@pytest.mark.parametrize(
  'left, said',
  (
    ('fixed', 'no router was evaluated yet'),
    ('router', 'the largest plan was not evaluated'),
    ('base', 'Neither the router nor the largest plan'),
  ),
)
def test_verdict_without_some_selectors(left, said):
  rows = _rows() + [_row('count', 'coarse', None, 0.8, 9, 8e9, 1.0, 'base')]
  assert said in tables.verdict([r for r in rows if r['selector'] == left])


@pytest.mark.parametrize(
  'flops, unit',
  ((5e5, 'kFLOPs'), (3e7, 'MFLOPs'), (6e11, 'GFLOPs'), (4e12, 'TFLOPs')),
)
def test_unit_fits_the_size(flops, unit):
  assert tables.flops_unit([flops])[1] == unit


# What it costs, and promises --------------------------------------------------


def _costly(row, scale=1.0, **extra):
  """A row with costs: vision 8 times and decoding a half of the prefill."""
  llm = row['llm_prefill_flops']
  return row | dict(
    visual_flops=llm / 4,
    vision_flops=8 * llm,
    decode_flops=llm / 2,
    total_flops=9.5 * llm,
    total_saved=1.5,
    cache_bytes=4000 * scale,
    measured=dict(
      first_token_s=0.25 * scale,
      tokens_per_s=640.0,
      batch=8,
      peak_bytes=2e9,
      device='cpu',
      devices=1,
    ),
    **extra,
  )


def test_costs_are_weighed_like_accuracy():
  found = costs.table([_costly(r) for r in _rows()])
  assert found.header[0] == 'plan' and 'GFLOPs' in found.header[1]
  line = {l[0]: l for l in found.lines}['max']
  # 3.75 G of prefill on average, as in the test of questions above.
  assert line == (
    'max',
    '3.75',
    '0.94',
    '30.0',
    '1.88',
    '35.6',
    '1.50x',
    '4.00',
    '250',
    '640',
    '2,000',
  )
  (note,) = found.notes
  assert '1 cpu device(s), batches of 8' in note


def test_costs_may_be_missing():
  """Rows of older runs, or of others."""
  assert costs.table(_rows()) is None
  rows = [_costly(r) | dict(measured=None) for r in _rows()]
  found = costs.table(rows)
  assert {l[8:] for l in found.lines} == {('-', '-', '-')} and not found.notes


def _promised():
  for family, group in (('count', 'coarse'), ('digits', 'fine')):
    row = lambda of, accuracy, cost: (
      _row(family, group, None, accuracy, 100, cost, 8.0, 'router') | of
    )
    yield row(dict(budget=0.3, promised=0.3, delivered=0.315), 0.6, 1e9)
    yield row(dict(budget=0.5, promised=0.5, delivered=0.49), 0.7, 2e9)
    yield row(dict(drop=0.01, promised=0.99, delivered=0.98), 0.8, 3e9)
    yield row(dict(drop=0.5, promised=0.5, delivered=None), 0.5, 1e9)


def test_promises_beside_what_came():
  rows = [*_rows(), *_promised()]
  found = costs.promises_table(rows)
  assert [l[:5] for l in found.lines] == [
    ('router-0.01', 'accuracy', '0.990', '0.980', '-1.0'),
    ('router@0.3', 'cost', '0.300', '0.315', '+5.0'),
    ('router@0.5', 'cost', '0.500', '0.490', '-2.0'),
  ]
  assert found.lines[1][5] == '60.0'


def test_routers_with_targets_are_not_the_router():
  rows = [*_rows(), *_promised()]
  names = [s.name for s in average.scores(rows)]
  assert names == [
    'max',
    'min',
    'router-0.01',
    'router',
    'router@0.5',
    'router-0.5',
    'router@0.3',
  ]
  assert not any(s.fixed for s in average.scores(rows)[2:])
  assert tables.verdict(rows) == tables.verdict(_rows())
  assert tables.rivals(rows) == tables.rivals(_rows())


def _rivals():
  """fastv is dearer than max and better on fine; m3 cheaper than min."""
  made = []
  for method, fine, flops in (
    ('fastv:2:0.5', 0.9, 9e9),
    ('m3:2', 0.05, 1e8),
    ('m3:1', 0.2, 2e9),
  ):
    for family, group, accuracy, n in (
      ('count', 'coarse', 0.8, 100),
      ('colour', 'coarse', 0.6, 300),
      ('digits', 'fine', fine, 100),
    ):
      made.append(
        _row(family, group, None, accuracy, n, flops, 2.0, 'base')
        | {'method': method}
      )
  return made


def test_a_rival_is_named_by_its_method():
  row = _row('a', 'fine', None, 1.0, 1, 1.0, 1.0, 'base')
  plan = _row('a', 'fine', [1, 0], 1.0, 1, 1.0, 1.0)
  of = lambda r, method: average.name(r | {'method': method})
  assert of(row, '') == 'base' and of(row, 'm3:2') == 'm3:2'
  assert of(plan, '') == '0' and of(plan, 'm3:2') == '0 m3:2'
  names = [s.name for s in average.scores(_rows() + _rivals())]
  assert names == ['max', 'min', 'router', 'fastv:2:0.5', 'm3:1', 'm3:2']


def test_rivals_change_nothing_of_visors_own():
  with_, without = _named(_rows() + _rivals()), _named(_rows())
  assert {n: with_[n] for n in without} == without
  assert tables.verdict(_rows() + _rivals()) == tables.verdict(_rows())
  assert tables.rivals(_rows() + _rivals()).startswith(tables.rivals(_rows()))


def test_a_rival_is_held_against_what_costs_no_more():
  scores = average.scores(_rows() + _rivals())
  met = {
    r.name: best and best.name for r, best in average.against(scores, 'fine')
  }
  assert met == {'fastv:2:0.5': 'max', 'm3:1': 'min', 'm3:2': None}


def test_the_page_says_where_visor_lies_below():
  said = tables.rivals(_rows() + _rivals())
  assert 'On the fine group VISOR lies above **0 of 2** settings' in said
  assert 'below 1: fastv:2:0.5 (90.0 against 50.0 % of max, at ' in said
  assert '1 cost less than every plan' in said
  assert 'coarse group VISOR lies above **0 of 2**' in said


def test_rivals_alone_say_nothing_of_visor():
  assert tables.rivals(_rivals()) == ''

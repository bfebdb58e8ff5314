"""Averages of results, against numbers worked out by hand."""

import pytest

from tests.report import result_rows
from visor_jax.report import average


def test_questions_count_alike_in_a_group_and_groups_count_half():
  largest = result_rows.by_name(result_rows.rows())['max']
  assert largest.means['coarse'].accuracy == pytest.approx(0.65)
  assert largest.means['fine'].accuracy == pytest.approx(0.5)
  assert largest.all.accuracy == pytest.approx(0.575)
  assert largest.means['coarse'].flops == pytest.approx(2.5e9)
  assert largest.all.flops == pytest.approx(3.75e9)


def test_saving_is_a_ratio_of_means():
  router = result_rows.by_name(result_rows.rows())['router']
  # Own: half of .625 and 3.5 G; the base's: half of 5 and 10 G.
  assert router.all.flops == pytest.approx(2.0625e9)
  assert router.all.saved == pytest.approx(7.5 / 2.0625)


def test_standard_error_of_one_family():
  fine = result_rows.by_name(result_rows.rows())['max'].means['fine']
  assert fine.error == pytest.approx((0.5 * 0.5 / 100) ** 0.5)


def test_summaries_come_base_first_then_costly_to_cheap_then_router():
  rows = result_rows.rows() + [
    result_rows.make('count', 'coarse', None, 0.8, 9, 8e9, 1.0, 'base')
  ]
  names = [s.name for s in average.summaries(rows)]
  assert names == ['base', 'max', 'min', 'router']


def test_a_later_row_replaces_an_earlier_one():
  again = result_rows.make('digits', 'fine', (True, True), 0.9, 100, 5e9, 2.0)
  largest = result_rows.by_name(result_rows.rows() + [again])['max']
  assert largest.means['fine'].accuracy == pytest.approx(0.9)


def test_one_group_alone_is_the_whole():
  summaries = result_rows.by_name(
    [r for r in result_rows.rows() if r['group'] == 'coarse']
  )
  assert summaries['max'].all == summaries['max'].means['coarse']
  assert 'fine' not in summaries['max'].means


def test_order_of_plan_names():
  names = ['max', '0,2', '10', '2', 'min']
  assert sorted(names, key=average.plan_order) == [
    'min',
    '2',
    '10',
    '0,2',
    'max',
  ]


def test_a_name_that_is_no_plan_is_named():
  with pytest.raises(ValueError, match='"large" is not the name of a plan'):
    average.plan_order('large')


def test_a_rival_is_named_by_its_method():
  base = result_rows.make('a', 'fine', None, 1.0, 1, 1.0, 1.0, 'base')
  plan = result_rows.make('a', 'fine', [1, 0], 1.0, 1, 1.0, 1.0)

  def name(row, method):
    return average.name(row | {'method': method})

  assert name(base, '') == 'base' and name(base, 'm3:2') == 'm3:2'
  assert name(plan, '') == '0' and name(plan, 'm3:2') == '0 m3:2'
  names = [
    s.name
    for s in average.summaries([*result_rows.rows(), *result_rows.rivals()])
  ]
  assert names == ['max', 'min', 'router', 'fastv:2:0.5', 'm3:1', 'm3:2']

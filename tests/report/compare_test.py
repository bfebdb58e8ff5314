"""Selections held against each other."""

import pytest

from tests.report import result_rows
from visor_jax.report import average
from visor_jax.report import compare


def fine(*results):
  """Rows of ten fine questions each: (plan, accuracy, FLOPs) of family a."""
  return [
    result_rows.make('a', 'fine', plan, accuracy, 10, flops, 1.0)
    for plan, accuracy, flops in results
  ]


def test_front_leaves_out_plans_that_a_cheaper_one_reaches():
  rows = fine(
    ([0, 0], 0.5, 1e9),
    ([0, 1], 0.4, 2e9),
    ([1, 0], 0.7, 2e9),
    ([1, 1], 0.7, 3e9),
  )
  best = compare.front(average.summaries(rows), 'fine')
  assert [s.name for s in best] == ['min', '0']


def test_a_blind_mix_lies_on_the_line_between_two_plans():
  summaries = average.summaries(result_rows.rows())
  # min: .375 at .9375 G, max: .575 at 3.75 G; 2.0625 G is 40 % of the way.
  assert compare.blind_mix(summaries, 2.0625e9).accuracy == pytest.approx(0.455)
  assert compare.blind_mix(summaries, 9e9).accuracy == pytest.approx(0.575)
  assert compare.blind_mix(summaries, 1e8) is None


def test_a_rival_is_held_against_what_costs_no_more():
  summaries = average.summaries([*result_rows.rows(), *result_rows.rivals()])
  best_of = {
    rival.name: best and best.name
    for rival, best in compare.visor_at_cost(summaries, 'fine')
  }
  assert best_of == {'fastv:2:0.5': 'max', 'm3:1': 'min', 'm3:2': None}


def test_one_plan_for_each_kind_of_question_spends_where_it_gains_most():
  """Half of all weight is coarse; digits gains .2 for 1.875 G of the mean."""
  rows = result_rows.rows()
  # min: .375 at .9375 G; all of what is left goes to digits.
  assert compare.best_by_kind(rows, 0.9375e9) == pytest.approx(0.375)
  assert compare.best_by_kind(rows, 1.875e9) == pytest.approx(0.475)
  assert compare.best_by_kind(rows, 9e9) == pytest.approx(0.575)
  assert compare.best_by_kind(rows, 0.9e9) is None
  assert compare.best_by_kind([], 1e9) is None


def test_a_plan_between_two_of_a_kind_is_left_out_where_a_mix_beats_it():
  rows = fine(([0, 0], 0.2, 1e9), ([0, 1], 0.3, 2e9), ([1, 1], 0.8, 3e9))
  assert compare.best_by_kind(rows, 2e9) == pytest.approx(0.5)


def test_families_that_begin_with_one_word_are_one_kind():
  """The question does not say which of them it is of."""
  rows = [
    result_rows.make(family, 'fine', plan, accuracy, n, flops, 1.0)
    for family, n, plan, accuracy, flops in (
      ('value', 30, [0], 1.0, 1e9),
      ('value', 30, [1], 1.0, 2e9),
      ('value elsewhere', 10, [0], 0.0, 1e9),
      ('value elsewhere', 10, [1], 1.0, 2e9),
    )
  ]
  # One that saw the page would reach 1 at 1.25 G.
  assert compare.best_by_kind(rows, 1.25e9) == pytest.approx(0.8125)

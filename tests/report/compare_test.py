"""Selections held against each other."""

import pytest

from tests.report import result_rows
from visor_jax.report import average
from visor_jax.report import compare


def test_front_leaves_out_plans_that_a_cheaper_one_reaches():
  rows = [
    result_rows.make('a', 'fine', plan, accuracy, 10, flops, 1.0)
    for plan, accuracy, flops in (
      ([0, 0], 0.5, 1e9),
      ([0, 1], 0.4, 2e9),
      ([1, 0], 0.7, 2e9),
      ([1, 1], 0.7, 3e9),
    )
  ]
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

"""Values that no search and no calibration leaves are refused."""

import math

import pytest

from visor_jax.spec import budget
from visor_jax.spec import choice
from visor_jax.spec import plan as plans

LAYOUT = plans.visor(9)  # three optional layers


def test_viable_plans_are_read_from_lists():
  lists = [[0, 0, 0], [0, 1, 0], [1, 1, 1]]
  assert choice.viable_plans(lists, LAYOUT) == (
    LAYOUT.min,
    (False, True, False),
    LAYOUT.max,
  )
  booleans = [[bit == 1 for bit in plan] for plan in lists]
  assert choice.viable_plans(booleans, LAYOUT) == (
    choice.viable_plans(lists, LAYOUT)
  )


@pytest.mark.parametrize(
  'lists,why',
  [
    ([], 'none; expected min first and max last'),
    ([[0, 0, 0], [0, 1, 0]], 'min; 1; expected min first and max last'),
    ([[0, 1, 0], [1, 1, 1]], '1; max; expected min first and max last'),
    ([[1, 1, 1], [0, 0, 0]], 'max; min; expected min first and max last'),
    ([[0, 0, 0], [0, 0, 0], [1, 1, 1]], 'stands twice'),
    ([[0, 0], [1, 1]], r'viable plan \[0, 0\]: expected .* of the 3 optional'),
    ([[0, 0, 0], [1, 1]], r'viable plan \[1, 1\]'),
    ([[0, 0, 0], [2, 1, 1]], r'viable plan \[2, 1, 1\]'),
    ([[0, 0, 0], ['1', '1', '1']], 'viable plan'),
    ([[0, 0, 0], '111'], "viable plan '111'"),
    ('max', "viable plan 'max'"),
    (None, 'viable plan None'),
    ({'a': 1}, 'viable plan'),
  ],
)
def test_what_is_no_list_of_viable_plans_is_refused(lists, why):
  with pytest.raises(ValueError, match=why):
    choice.viable_plans(lists, LAYOUT)


@pytest.mark.parametrize('confidence', [None, 0, 0.5, 1, 1.0])
def test_a_confidence_is_none_or_a_share(confidence):
  choice.check_confidence(confidence)


@pytest.mark.parametrize(
  'confidence', [5, -0.1, math.nan, math.inf, '0.5', [0.5], True]
)
def test_another_confidence_is_refused(confidence):
  with pytest.raises(ValueError, match='"confidence" is .*from 0 to 1'):
    choice.check_confidence(confidence)


CURVE = [(0, 0.3, 0.5, 0.6), (0.5, 0.6, 0.7, 0.8), (1, 1.02, 0.8, 1)]


def test_a_curve_rises_from_0_to_1():
  choice.check_curve([budget.Point(*point) for point in CURVE])
  choice.check_curve([])


@pytest.mark.parametrize(
  'curve',
  [
    CURVE[:2],
    CURVE[1:],
    CURVE[::-1],
    [CURVE[0], *CURVE],
    [*CURVE, (5, 1.1, 0.8, 1)],
    [*CURVE[:2], (1, 1.02, 0.8, 0.9)],
    [CURVE[0], (0.5, 0.6, 0.7, -0.1), CURVE[2]],
    [CURVE[0], (0.5, 0.6, 0.7, None), CURVE[2]],
    [CURVE[0], (math.nan, 0.6, 0.7, 0.8), CURVE[2]],
    [CURVE[0], (0.5, math.nan, 0.7, 0.8), CURVE[2]],
    [CURVE[0], (0.5, 0.6, 7, 0.8), CURVE[2]],
    [CURVE[0], (0.5, -0.6, 0.7, 0.8), CURVE[2]],
    [CURVE[0], (0.5, math.inf, 0.7, 0.8), CURVE[2]],
    [CURVE[0], (0.5, None, 0.7, 0.8), CURVE[2]],
    [CURVE[0], ('0.5', 0.6, 0.7, 0.8), CURVE[2]],
  ],
)
def test_another_curve_is_refused(curve):
  with pytest.raises(ValueError, match='expected'):
    choice.check_curve([budget.Point(*point) for point in curve])

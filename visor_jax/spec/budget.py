"""Budgets: how sure a router must be, for what it may spend on average.

Calibration leaves a curve: for rising confidence, the share of the LLM prefill
FLOPs of `max` that the router's choices take, and of its FLOPs end to end, the
router's own cost included, the accuracy that they reach, and how much of max's
they keep as good as surely. Where many questions get the same scores the curve
has steps, so a budget is met by a mix of the two confidences around it.

Plain Python: a budget is asked for by commands, configs and the report.
"""

from collections.abc import Mapping
import dataclasses
import itertools
from typing import NamedTuple

from visor_jax.spec import plan as plans
from visor_jax.spec import shares as shares_lib


class Point(NamedTuple):
  """What a confidence gives on calibration questions.

  Attributes:
    confidence: see models.router.choose.
    share: of the LLM prefill FLOPs of `max` for the same questions.
    total: likewise of its FLOPs end to end; None of a calibration that did not
      count them.
    accuracy: mean score, 0 to 1.
    retained: at least this share of the accuracy of `max` is kept on questions
      like these, with the probability `policy.level`.
  """

  confidence: float
  share: float
  accuracy: float
  retained: float
  total: float | None = None

  def spent(self, budget_of: str) -> float | None:
    """The share that a budget is compared with, see spec/shares.py."""
    return {shares_lib.PREFILL: self.share, shares_lib.TOTAL: self.total}[
      budget_of
    ]


@dataclasses.dataclass(frozen=True)
class Mix:
  """Two confidences: a `share` of the questions asks for the higher one."""

  low: float
  high: float
  share: float


# What a router asks for: of a plan to suffice so surely, or the likeliest one.
Confidence = float | Mix | None


def most_expensive(
  shares: Mapping[plans.Plan, float],
  budget: float,
  budget_of: str = shares_lib.PREFILL,
) -> plans.Plan:
  """The most expensive plan within a budget.

  Of plans that cost the same, the one whose SELF layers are spread most evenly:
  where nobody has evaluated them, nothing else speaks for one of them.

  Args:
    shares: what each plan takes of `max`.
    budget: the share that may be taken.
    budget_of: what they are shares of, see spec/shares.py.

  Raises:
    ValueError: every plan takes more.
  """
  affordable = [plan for plan in shares if shares[plan] <= budget]
  if not affordable:
    raise ValueError(
      f'budget {budget}: the cheapest plan takes '
      f'{shares_lib.at_least(min(shares.values()))} of '
      f'{shares_lib.WORDS[budget_of]}'
    )
  return min(affordable, key=lambda plan: (-shares[plan], _unevenness(plan)))


def _unevenness(plan: plans.Plan) -> float:
  """How far the layers that run are from places that divide the plan evenly."""
  running = [i for i, on in enumerate(plan) if on]
  return sum(
    abs(i - ((j + 0.5) * len(plan) / len(running) - 0.5))
    for j, i in enumerate(running)
  )


def mix_within(
  curve: tuple[Point, ...], budget: float, budget_of: str = shares_lib.PREFILL
) -> Mix:
  """The mix that takes the budget on average.

  Args:
    curve: by rising confidence, from the cheapest plan always to the largest.
    budget: share of what `max` takes.
    budget_of: what it is a share of, see spec/shares.py.

  Raises:
    ValueError: no confidence costs so little, or so much, or calibration did
      not count it.
  """
  shares_lib.check(budget_of)
  spent = [x for p in curve if (x := p.spent(budget_of)) is not None]
  if len(spent) < len(curve):
    raise ValueError(
      f'budget {budget:g} of {shares_lib.WORDS[budget_of]}: this router was '
      'calibrated without counting them; run the label and policy jobs again'
    )
  for low, high, least, most in zip(curve, curve[1:], spent, spent[1:]):
    if least <= budget <= most:
      rise = most - least
      share = (budget - least) / rise if rise else 0.0
      return Mix(low.confidence, high.confidence, share)
  raise ValueError(
    f'budget {budget:g}: {shares_lib.spends(spent[0], spent[-1], budget_of)}'
  )


def confidence_keeping(curve: tuple[Point, ...], drop: float) -> float:
  """The cheapest confidence that loses at most a share of max's accuracy.

  Confidences are tried from the largest plan always down, up to the first that
  may lose more: a promise for the cheapest of many, each held up to chance by
  itself, would hold less often than for one (fixed sequence testing, as in
  Learn then Test, arXiv 2110.01052).

  Args:
    curve: as for `mix_within`; its last point is the largest plan always.
    drop: share of the accuracy of `max`.

  Raises:
    ValueError: the share is not between 0 and 1.
  """
  if not 0 <= drop <= 1:
    raise ValueError(
      f"drop {drop:g}: expected a share of max's accuracy, from 0 to 1"
    )
  keeping = itertools.takewhile(
    lambda point: point.retained >= 1 - drop, reversed(curve)
  )
  return min(keeping, key=lambda point: point.share).confidence


def confidence(
  selection: plans.Selection, curve: tuple[Point, ...], usual: float | None
) -> Confidence:
  """What a router asks for: a confidence, a Mix, or None for argmax.

  Args:
    selection: a router, with or without a target.
    curve: of its calibration; may be empty.
    usual: without a target.

  Raises:
    ValueError: the target cannot be met, or there is no curve.
  """
  if selection.budget is not None:
    return mix_within(
      _calibrated(curve, selection), selection.budget, selection.budget_of
    )
  if selection.drop is not None:
    return confidence_keeping(_calibrated(curve, selection), selection.drop)
  return usual


def _calibrated(
  curve: tuple[Point, ...], selection: plans.Selection
) -> tuple[Point, ...]:
  """The curve, if there is one."""
  if not curve:
    raise ValueError(
      f'plan "{selection}": this router was not calibrated; run '
      'the policy stage'
    )
  return curve

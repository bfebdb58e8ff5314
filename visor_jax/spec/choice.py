"""What a router chooses among and how sure it must be: what that can be.

Plain Python: checkpoints and the files of a run say it, and both are checked.
"""

from collections.abc import Sequence
import math
from typing import Any

from visor_jax.spec import budget
from visor_jax.spec import plan as plans


def viable_plans(lists: Any, layout: plans.Layout) -> tuple[plans.Plan, ...]:
  """Plans out of lists of 0 and 1.

  Args:
    lists: by cost, so that the smallest comes first and the largest last.
    layout: whose plans they are.

  Raises:
    ValueError: they are not such plans.
  """
  bits = len(layout.optional)
  for plan in lists if isinstance(lists, list | tuple) else [lists]:
    if (
      not isinstance(plan, list | tuple)
      or len(plan) != bits
      or any(bit not in (0, 1) for bit in plan)
    ):
      raise ValueError(
        f'viable plan {plan!r}: expected a list of 0 and 1 for each of the '
        f'{bits} optional SELF layers'
      )
  viable = tuple(tuple(bit == 1 for bit in plan) for plan in lists)
  ends = (layout.min, layout.max)
  if (viable[:1], viable[-1:]) != (ends[:1], ends[1:]):
    raise ValueError(
      f'viable plans are {"; ".join(map(plans.name, viable)) or "none"}; '
      'expected min first and max last'
    )
  if len(set(viable)) < len(viable):
    raise ValueError(
      f'a viable plan stands twice: {"; ".join(map(plans.name, viable))}'
    )
  return viable


def check_confidence(confidence: Any, key: str = '"confidence"') -> None:
  """Whether a router can be asked for it.

  Args:
    confidence: the value.
    key: that it was given by.

  Raises:
    ValueError: it is neither None nor a number from 0 to 1.
  """
  if confidence is not None and not is_share(confidence):
    raise ValueError(
      f'{key} is {confidence!r}; expected a number from 0 to 1, or none'
    )


def check_curve(curve: Sequence[budget.Point]) -> None:
  """Whether a calibration can have left it; one without points says nothing.

  Raises:
    ValueError: a value is out of range, or confidence does not rise from 0 to
      1.
  """
  for point in curve:
    if not is_share(point.confidence) or not is_share(point.accuracy):
      raise ValueError(f'{point}: expected confidence and accuracy from 0 to 1')
    if not is_cost(point.share):
      raise ValueError(f'{point}: expected a finite share above 0')
    if point.total is not None and not is_cost(point.total):
      raise ValueError(f'{point}: expected a finite total above 0, or none')
    if not _is_number(point.retained) or not 0 <= point.retained < math.inf:
      raise ValueError(
        f'{point}: expected how much of the accuracy of max is kept; it is '
        'written by the policy job'
      )
  confidences = [point.confidence for point in curve]
  if curve and curve[-1].retained != 1:
    raise ValueError(
      f'{curve[-1]}: expected that the last, always the largest plan, keeps 1'
    )
  if curve and (
    confidences != sorted(set(confidences))
    or (confidences[0], confidences[-1]) != (0, 1)
  ):
    raise ValueError(
      f'the curve has confidences {confidences}; expected that they rise from '
      '0 to 1'
    )


def is_share(value: Any) -> bool:
  """Whether it is a number from 0 to 1, as scores are."""
  return _is_number(value) and 0 <= value <= 1  # false for NaN


def is_cost(value: Any) -> bool:
  """Whether it is a finite number above 0."""
  return _is_number(value) and 0 < value < math.inf


def _is_number(value: Any) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)

"""What a budget may be a share of: `budget_of`, wherever budgets are given."""

import decimal
import itertools

PREFILL, TOTAL = 'prefill', 'total'

# Of a router, which adds little to the largest plan, that it may choose always.
MOST = 1.5

WORDS = {
  PREFILL: "max's LLM prefill FLOPs",
  TOTAL: "max's FLOPs end to end",  # vision tower, prefill and decoding
}


def check(budget_of: str) -> None:
  """Whether a budget can be a share of it.

  Raises:
    ValueError: it cannot.
  """
  if budget_of not in WORDS:
    raise ValueError(
      f'budget_of is {budget_of!r}; expected one of {", ".join(WORDS)}'
    )


def at_least(share: float, digits: int = 3) -> str:
  """The share to so many digits, rounded up: what is printed suffices."""
  return _rounded(share, digits, decimal.ROUND_CEILING)


def inside(least: float, most: float) -> tuple[str, str]:
  """The ends of a range, rounded inward: both that are printed lie in it."""
  for digits in itertools.count(3):
    low = at_least(least, digits)
    high = _rounded(most, digits, decimal.ROUND_FLOOR)
    if float(low) <= float(high):
      break
  return low, high


def spends(least: float, most: float, budget_of: str) -> str:
  """What a router may spend, from the cheapest plan to the largest, in words.

  Args:
    least: share of the cheapest plan, the router's own work included.
    most: that of the largest.
    budget_of: what they are shares of.
  """
  cheapest, largest = inside(least, most)
  return (
    f'this router spends from {cheapest} (the cheapest plan always) to '
    f'{largest} (the largest always) of {WORDS[budget_of]}'
  )


def _rounded(share: float, digits: int, rounding: str) -> str:
  unit = decimal.Decimal(1).scaleb(-digits)
  return f'{decimal.Decimal(str(share)).quantize(unit, rounding):f}'

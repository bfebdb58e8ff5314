"""What a budget may be a share of: `budget_of`, wherever budgets are given."""

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

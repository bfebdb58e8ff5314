"""What the router learns of labelled questions, by `policy.loss`.

A target is an array that stands beside a question's features; of rows of
labels.jsonl.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from visor_jax.runtime import errors
from visor_jax.spec import shares

# (number of a question, its target)
Target = tuple[int, np.ndarray]

Rows = Sequence[Mapping[str, Any]]  # of labels.jsonl, see jobs/labels.py


# What a row says that each plan took, by what the budget is a share of.
TAKEN = {shares.PREFILL: 'flops', shares.TOTAL: 'total_flops'}


def _labels(rows: Rows, budget_of: str) -> list[Target]:
  """int32 [1], the number of the plan; questions without one are left out."""
  del budget_of
  return [
    (row['index'], np.array([row['label']], np.int32))
    for row in rows
    if row['label'] is not None
  ]


def _rewards(rows: Rows, budget_of: str) -> list[Target]:
  """float32 [1, plans, 2], score and cost of every plan.

  A cost is the question's own FLOPs as a share of what `max` takes of these
  questions on average, so that the mean of costs is what a budget is. The
  router's own work is the same under every plan, and not among them.
  """
  taken = TAKEN[budget_of]
  if any(taken not in row for row in rows):
    raise errors.Refusal(
      f'policy.budget_of is {budget_of}, which these labels do not say: label '
      'again (jobs=label+policy) or set it to '
      + ' or '.join(of for of in TAKEN if of != budget_of)
    )
  largest = np.mean([row[taken][-1] for row in rows]) if rows else 1.0
  return [
    (
      row['index'],
      np.stack([row['scores'], row[taken] / largest], -1)[None].astype(
        np.float32
      ),
    )
    for row in rows
  ]


# Of rows, and what the budget is a share of (spec/shares.py).
TARGETS: dict[str, Callable[[Rows, str], list[Target]]] = {
  'labels': _labels,
  'reward': _rewards,
}


def example(loss: str, plans: int) -> np.ndarray:
  """A target of as many viable plans, for its shape and dtype."""
  row = dict(index=0, label=0, scores=[0.0] * plans, flops=[1.0] * plans)
  ((_, target),) = TARGETS[loss]([row], shares.PREFILL)
  return target

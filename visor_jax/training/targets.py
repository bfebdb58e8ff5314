"""What the router learns of labelled questions, by `policy.loss`.

A target is an array that stands beside a question's features; of rows of
labels.jsonl.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

# (number of a question, its target)
Target = tuple[int, np.ndarray]

Rows = Sequence[Mapping[str, Any]]  # of labels.jsonl, see jobs/labels.py


def _labels(rows: Rows) -> list[Target]:
  """int32 [1], the number of the plan; questions without one are left out."""
  return [
    (row['index'], np.array([row['label']], np.int32))
    for row in rows
    if row['label'] is not None
  ]


def _rewards(rows: Rows) -> list[Target]:
  """float32 [1, plans, 2], score and cost of every plan.

  A cost is the question's own LLM prefill FLOPs as a share of what `max` takes
  of these questions on average, so that the mean of costs is what a budget is.
  The router's own work is the same under every plan, and not among them.
  """
  largest = np.mean([row['flops'][-1] for row in rows]) if rows else 1.0
  return [
    (
      row['index'],
      np.stack([row['scores'], row['flops'] / largest], -1)[None].astype(
        np.float32
      ),
    )
    for row in rows
  ]


TARGETS: dict[str, Callable[[Rows], list[Target]]] = {
  'labels': _labels,
  'reward': _rewards,
}


def example(loss: str, plans: int) -> np.ndarray:
  """A target of as many viable plans, for its shape and dtype."""
  row = dict(index=0, label=0, scores=[0.0] * plans, flops=[1.0] * plans)
  ((_, target),) = TARGETS[loss]([row])
  return target

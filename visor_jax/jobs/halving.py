"""Successive halving: plans that are clearly worse are asked no further.

All plans answer the first quarter of the questions, those that are left the
second, and the rest of them all. A plan is left out where one that costs no
more is ahead on the questions that both have answered, by `ERRORS` standard
errors of the mean difference: the two have answered the same questions, so most
of what chance does to the one it does to the other.
"""

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
from typing import Any

import ml_collections
import numpy as np

from visor_jax.eval import run as eval_run
from visor_jax.spec import plan as plans

ERRORS = 3.0
PARTS = 4  # of the questions; plans are left out behind the first two
LEAST = 16  # questions of a part: fewer say too little of any plan


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
  """What came of a plan so far.

  Attributes:
    scores: of the questions that it has answered, from the first one on.
    flops: of LLM prefill, likewise.
  """

  scores: np.ndarray
  flops: np.ndarray

  @property
  def accuracy(self) -> float:
    return float(self.scores.mean()) if self.count else math.nan

  @property
  def count(self) -> int:
    return len(self.scores)

  @property
  def error(self) -> float:
    """The standard error of the accuracy."""
    return float(self.scores.std() / max(self.count - 1, 1) ** 0.5)

  @property
  def cost(self) -> float:
    """LLM prefill FLOPs a question."""
    return float(self.flops.mean())


def of_answers(answers: Sequence[eval_run.Answer]) -> Trial:
  """What a plan's answers come to."""
  return Trial(
    np.array([answer['score'] for answer in answers], float),
    np.array([answer['llm_prefill_flops'] for answer in answers], float),
  )


def ahead(plan: Trial, other: Trial) -> float:
  """By how many standard errors of their difference a plan is better.

  On the questions that both have answered, and on one more that the other alone
  gets right: few questions on which nothing speaks for it prove little.
  """
  count = min(plan.count, other.count)
  if not count:
    return -math.inf
  difference = np.append(plan.scores[:count] - other.scores[:count], -1.0)
  error = difference.std(ddof=1) / len(difference) ** 0.5
  return float(difference.mean() / error) if error else -math.inf


def run(
  plans_: Collection[plans.Plan],
  ask: Callable[[plans.Plan, int], Trial],
  trials: dict[plans.Plan, Trial],
  parts: Sequence[int],
  stay: Collection[plans.Plan],
) -> Iterator[tuple[plans.Plan, plans.Plan | None]]:
  """Asks plans, those that are clearly worse not to the end.

  Args:
    plans_: to ask.
    ask: (plan, number of the first questions) -> what came of it.
    trials: of all plans so far, those of other runs among them; filled.
    parts: numbers of questions, rising, after which plans are compared.
    stay: plans that are asked to the end, as is the best at each comparison.

  Yields:
    Plans that are done, each with the one that is ahead if it was left out.
  """
  running = list(plans_)
  for part in parts:
    for plan in running:
      trials[plan] = ask(plan, part)
    if part == parts[-1]:
      yield from ((plan, None) for plan in running)
      return
    best = max(running, key=lambda plan: trials[plan].accuracy)
    better = {
      plan: beaten_by(plan, trials)
      for plan in running
      if plan != best and plan not in stay
    }
    yield from ((plan, by) for plan, by in better.items() if by is not None)
    running = [plan for plan in running if better.get(plan) is None]


def beaten_by(
  plan: plans.Plan, trials: Mapping[plans.Plan, Trial]
) -> plans.Plan | None:
  """The plan that is furthest ahead of another at no higher cost, if clearly.

  Args:
    plan: the other.
    trials: of all plans so far.
  """
  tried = trials[plan]
  leads = {
    other: ahead(trial, tried)
    for other, trial in trials.items()
    if other != plan and _costs_no_more(trial, tried)
  }
  best = max(leads, key=leads.__getitem__, default=None)
  return best if best is not None and leads[best] >= ERRORS else None


def _costs_no_more(trial: Trial, other: Trial) -> bool:
  count = min(trial.count, other.count)
  return bool(trial.flops[:count].mean() <= other.flops[:count].mean())


def parts(
  examples: int, options: ml_collections.ConfigDict
) -> tuple[list[int], ml_collections.ConfigDict]:
  """After how many questions plans are compared, and how these are asked.

  Args:
    examples: questions in all.
    options: the config's `eval`, whose chunks may be larger than a part.

  Returns:
    Counts that rise to `examples`, and the options with chunks that end there.
  """
  part = math.ceil(examples / PARTS)
  options = options.copy_and_resolve_references()
  options.chunk = min(options.chunk, part)
  part = math.ceil(part / options.chunk) * options.chunk
  counts = [count for count in (part, 2 * part) if LEAST <= count < examples]
  return [*counts, examples], options


def row(plan: plans.Plan, trial: Trial) -> dict[str, Any]:
  """A plan in search/plans.json."""
  return dict(
    plan=[int(on) for on in plan],
    accuracy=trial.accuracy,
    error=trial.error,
    flops=trial.cost,
    questions=trial.count,
  )

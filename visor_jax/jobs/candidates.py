"""Which plans the search evaluates.

Up to `search.exhaustive` optional layers all of them, beyond that those that
`greedy` asks for; never more than `search.budget`.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import itertools

import ml_collections

from visor_jax.spec import plan as plans


@dataclasses.dataclass(frozen=True)
class Candidates:
  """The plans to evaluate.

  Attributes:
    rounds: plans that are evaluated together; which come next may depend on
      those before them.
    layers: how many optional SELF layers run in each plan of all rounds.
    exhaustive: they are all plans that the layout allows.
  """

  rounds: Iterable[Sequence[plans.Plan]]
  layers: list[int]
  exhaustive: bool


def of(
  layout: plans.Layout,
  options: ml_collections.ConfigDict,
  accuracy: Callable[[plans.Plan], float],
) -> Candidates:
  """The candidates of a layout.

  Args:
    layout: whose plans are searched.
    options: the config's `search`.
    accuracy: of a plan that has been evaluated.
  """
  count, budget = len(layout.optional), options.budget
  exhaustive = count <= options.exhaustive
  rounds: Iterable[Sequence[plans.Plan]]
  if exhaustive:
    rounds, layers = [layout.plans], [sum(plan) for plan in layout.plans]
  else:
    rounds, layers = greedy(layout, accuracy), [0]
    for running in range(1, count + 1):
      layers += [running] * (count + 1 - running)
  if 0 < budget < len(layers):  # the largest plan is always one of them
    rounds = itertools.chain(_first(rounds, budget - 1), [[layout.max]])
    layers = [*layers[: budget - 1], count]
  return Candidates(rounds, layers, exhaustive)


def _first(
  rounds: Iterable[Sequence[plans.Plan]], number: int
) -> Iterator[Sequence[plans.Plan]]:
  """So many plans of some rounds; no round is asked for that has none."""
  rounds = iter(rounds)
  while number > 0:
    part = next(rounds)[:number]
    yield part
    number -= len(part)


def greedy(
  layout: plans.Layout, accuracy: Callable[[plans.Plan], float]
) -> Iterator[list[plans.Plan]]:
  """From no optional SELF layer, adds the best one until all run.

  Of n layers 1 + n + (n - 1) + ... + 1 plans are evaluated.

  Args:
    layout: whose plans are searched.
    accuracy: of a plan that was yielded.

  Yields:
    Plans to evaluate and then choose from, none twice, the largest last.
  """
  plan = layout.min
  yield [plan]
  while not all(plan):
    larger = [
      plan[:i] + (True,) + plan[i + 1 :] for i, on in enumerate(plan) if not on
    ]
    yield larger
    plan = max(larger, key=accuracy)

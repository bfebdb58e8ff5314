"""Search: which plans are viable.

Plans are evaluated on training questions; those that no cheaper or equally
cheap plan matches stay, the smallest and the largest among them.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import itertools
import json
import math
import time
from typing import Any

import ml_collections
import numpy as np

from visor_jax.eval import costs
from visor_jax.eval import questions
from visor_jax.eval import run as eval_run
from visor_jax.jobs import run as run_lib
from visor_jax.runtime import claim
from visor_jax.runtime import console
from visor_jax.spec import plan as plans
from visor_jax.training import metrics

# What came of the plans that were evaluated: (accuracy, FLOPs a question).
Evaluated = dict[plans.Plan, tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Candidates:
  """The plans to evaluate, in order.

  Attributes:
    plans: one at a time; which comes next may depend on those before it.
    layers: how many optional SELF layers run in each of them.
    exhaustive: they are all plans that the layout allows.
  """

  plans: Iterable[plans.Plan]
  layers: list[int]
  exhaustive: bool


def search(run: run_lib.Run) -> tuple[plans.Plan, ...]:
  """Finds the viable plans and writes search/plans.json.

  Up to `search.exhaustive` optional layers every plan is evaluated, beyond that
  those that `greedy` asks for; never more than `search.budget` of them.

  Args:
    run: what it works with.

  Returns:
    Viable plans by cost.

  Raises:
    ValueError: the stage before has not run.
  """
  under_test, options = run.model('full'), run.config.search
  layout = under_test.model.layout
  fit = under_test.suite.fit('search', options.examples)
  examples = len(fit.numbers)
  evaluated: Evaluated = {}
  candidates = _candidates(layout, options, lambda plan: evaluated[plan][0])
  prices_by_layers = prices(under_test, options.examples)
  count = len(layout.optional)
  exhaustive_flops = sum(
    math.comb(count, layers) * price
    for layers, price in enumerate(prices_by_layers)
  )
  left = sum(prices_by_layers[layers] for layers in candidates.layers)
  number = len(candidates.layers)
  console.log(
    f'search {"of every plan" if candidates.exhaustive else "by greed"}: '
    f'{_bill(number, examples, left)}; every plan would be '
    f'{_bill(2**count, examples, exhaustive_flops)}'
  )
  seconds = asked = 0.0  # what the questions took that were asked just now
  with metrics.open_log(run.config, run.workdir, 'search') as log:
    for plan in candidates.plans:
      began, price = time.monotonic(), prices_by_layers[sum(plan)]
      selection = plans.Selection('fixed', plan)
      folder = run.workdir.answers('search')
      begun_before = (folder / str(selection)).exists()  # says nothing of time
      answers = eval_run.answers(
        under_test,
        'search',
        options.examples,
        selection,
        folder,
        run.config.eval,
        run.config.eval.score,
      )
      accuracy = _mean(answers, 'score')
      flops = _mean(answers, 'llm_prefill_flops')
      evaluated[plan] = accuracy, flops
      log.write(
        len(evaluated), dict(accuracy=accuracy, llm_prefill_flops=flops)
      )
      left -= price
      if not begun_before:
        seconds, asked = seconds + time.monotonic() - began, asked + price
      console.log(
        f'search: plan {len(evaluated)} of {number} is '
        f'{plans.name(plan)}, accuracy {accuracy:.4f}'
        + (f', ETA {console.duration(left * seconds / asked)}' if asked else '')
      )
  most = under_test.model.architecture.router.plans
  viable = front(evaluated, layout, most)
  text = json.dumps(
    dict(
      viable=[_bits(plan) for plan in viable],
      evaluated=[
        dict(plan=_bits(plan), accuracy=accuracy, flops=flops)
        for plan, (accuracy, flops) in evaluated.items()
      ],
      evaluations=dict(
        plans=len(evaluated),
        questions=len(evaluated) * examples,
        flops=examples * sum(flops for _, flops in evaluated.values()),
        **fit.left_out,
      ),
      exhaustive_would_be=dict(
        plans=2**count, questions=2**count * examples, flops=exhaustive_flops
      ),
    ),
    indent=1,
  )
  claim.write_shared(run.workdir.plans, text)
  console.log(
    f'{len(viable)} of {len(evaluated)} plans are viable: '
    + '; '.join(plans.name(plan) for plan in viable)
  )
  return viable


def _candidates(
  layout: plans.Layout,
  options: ml_collections.ConfigDict,
  accuracy: Callable[[plans.Plan], float],
) -> Candidates:
  """What `search` evaluates.

  Args:
    layout: whose plans are searched.
    options: the config's `search`.
    accuracy: of a plan that has been evaluated.
  """
  count, budget = len(layout.optional), options.budget
  exhaustive = count <= options.exhaustive
  order: Iterable[plans.Plan]
  if exhaustive:
    order = layout.plans
    layers = [sum(plan) for plan in layout.plans]
  else:
    order = greedy(layout, accuracy)
    layers = [0]
    for running in range(1, count + 1):
      layers += [running] * (count + 1 - running)
  if 0 < budget < len(layers):  # the largest plan is always one of them
    order = itertools.chain(itertools.islice(order, budget - 1), [layout.max])
    layers = [*layers[: budget - 1], count]
  return Candidates(order, layers, exhaustive)


def prices(under_test: eval_run.ModelUnderTest, count: int) -> list[int]:
  """LLM prefill FLOPs of a plan by how many of its layers run.

  Which of them run hardly matters to the cost. Lengths are those of the first
  questions.

  Args:
    under_test: who answers.
    count: questions, some of which may not fit.
  """
  layers = len(under_test.model.layout.optional)
  asked = len(under_test.suite.fit('search', count).numbers)
  lengths = questions.mean_lengths(under_test.suite, 'search', count)
  return [
    asked
    * costs.prefill_flops(
      under_test.model.architecture,
      (True,) * running + (False,) * (layers - running),
      *lengths,
    )
    for running in range(layers + 1)
  ]


def greedy(
  layout: plans.Layout, accuracy: Callable[[plans.Plan], float]
) -> Iterator[plans.Plan]:
  """From no optional SELF layer, adds the best one until all run.

  Of n layers 1 + n + (n - 1) + ... + 1 plans are evaluated.

  Args:
    layout: whose plans are searched.
    accuracy: of a plan that was yielded.

  Yields:
    Plans to evaluate, none twice, the largest last.
  """
  plan = layout.min
  yield plan
  while not all(plan):
    larger = [
      plan[:i] + (True,) + plan[i + 1 :] for i, on in enumerate(plan) if not on
    ]
    yield from larger
    plan = max(larger, key=accuracy)


def front(
  evaluated: Mapping[plans.Plan, tuple[float, float]],
  layout: plans.Layout,
  most: int,
) -> tuple[plans.Plan, ...]:
  """Plans on the accuracy-cost front, by cost.

  Args:
    evaluated: {plan: (accuracy, FLOPs)}.
    layout: whose smallest and largest plans stay in any case.
    most: keep at most so many, those furthest apart in accuracy.
  """
  ends = (layout.min, layout.max)
  best = evaluated[layout.min][0]
  inner = []
  for plan in sorted(
    (plan for plan in evaluated if plan not in ends),
    key=lambda plan: (evaluated[plan][1], -evaluated[plan][0]),
  ):
    if evaluated[plan][0] > best:
      best = evaluated[plan][0]
      inner.append(plan)
  while len(inner) + len(ends) > most:
    gains = [
      evaluated[plan][0] - evaluated[cheaper][0]
      for cheaper, plan in zip([layout.min, *inner], inner)
    ]
    del inner[int(np.argmin(gains))]
  return (layout.min, *inner, layout.max)


def _bill(number: int, examples: int, flops: float) -> str:
  return (
    f'{number} plans, {number * examples} questions, '
    f'{flops:.3g} FLOPs of LLM prefill'
  )


def _bits(plan: plans.Plan) -> list[int]:
  return [int(on) for on in plan]


def _mean(answers: list[dict[str, Any]], key: str) -> float:
  return float(np.mean([answer[key] for answer in answers]))

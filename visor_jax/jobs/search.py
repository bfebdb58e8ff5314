"""Search: which plans are viable.

Plans are evaluated on training questions; those that no cheaper or equally
cheap plan matches stay, the smallest and the largest among them.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import itertools
import json
import math
import time

import ml_collections
import numpy as np

from visor_jax.eval import costs
from visor_jax.eval import questions
from visor_jax.eval import run as eval_run
from visor_jax.jobs import halving
from visor_jax.jobs import run as run_lib
from visor_jax.runtime import claim
from visor_jax.runtime import console
from visor_jax.spec import plan as plans
from visor_jax.training import metrics


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


def search(run: run_lib.Run) -> tuple[plans.Plan, ...]:
  """Finds the viable plans and writes search/plans.json.

  Up to `search.exhaustive` optional layers every plan is evaluated, beyond that
  those that `greedy` asks for; never more than `search.budget` of them. Those
  that are clearly worse answer a part of the questions, see halving.py.

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
  trials: dict[plans.Plan, halving.Trial] = {}
  complete: dict[plans.Plan, tuple[float, float]] = {}  # accuracy, FLOPs
  candidates = _candidates(
    layout, options, lambda plan: complete.get(plan, (-1.0, 0.0))[0]
  )
  by_layers = prices(under_test, options.examples)
  count, number = len(layout.optional), len(candidates.layers)
  exhaustive_flops = sum(
    math.comb(count, layers) * price for layers, price in enumerate(by_layers)
  )
  eta = _Eta(sum(by_layers[layers] for layers in candidates.layers))
  console.log(
    f'search {"of every plan" if candidates.exhaustive else "by greed"}, at '
    f'most: {_bill(number, examples, eta.left)}; every plan would be '
    f'{_bill(2**count, examples, exhaustive_flops)}'
  )
  parts, asking = halving.parts(options.examples, run.config.eval)
  folder = run.workdir.answers('search')
  begun = set()  # before this run: they say nothing of time

  def ask(plan: plans.Plan, part: int) -> halving.Trial:
    began, known = time.monotonic(), trials.get(plan)
    if known is None and (folder / plans.name(plan)).exists():
      begun.add(plan)
    answers = eval_run.answers(
      under_test,
      'search',
      part,
      plans.Selection('fixed', plan),
      folder,
      asking,
      run.config.eval.score,
    )
    new = len(answers) - (known.count if known else 0)
    seconds = None if plan in begun else time.monotonic() - began
    eta.asked(by_layers[sum(plan)] * new / examples, seconds)
    trial = halving.of_answers(answers)
    console.log(
      f'search: plan {plans.name(plan)}, {trial.count} of {examples} '
      f'questions, accuracy {trial.accuracy:.4f} ± {trial.error:.4f}{eta}'
    )
    return trial

  ends = {layout.min, layout.max}
  evaluated = []
  with metrics.open_log(run.config, run.workdir, 'search') as log:
    for contenders in candidates.rounds:
      for plan, better in halving.run(contenders, ask, trials, parts, ends):
        trial = trials[plan]
        evaluated.append(halving.row(plan, trial))
        log.write(
          len(evaluated),
          dict(accuracy=trial.accuracy, llm_prefill_flops=trial.cost),
        )
        if better is None:
          complete[plan] = trial.accuracy, trial.cost
          continue
        eta.left -= by_layers[sum(plan)] * (1 - trial.count / examples)
        console.log(
          f'search: plan {plans.name(plan)} is asked no further: '
          f'{plans.name(better)}, which costs no more, is '
          f'{halving.ahead(trials[better], trial):.1f} standard errors ahead'
        )
  most = under_test.model.architecture.router.plans
  viable = front(complete, layout, most)
  questions_asked = sum(trial.count for trial in trials.values())
  saved = number * examples - questions_asked
  text = json.dumps(
    dict(
      viable=[[int(on) for on in plan] for plan in viable],
      evaluated=evaluated,
      evaluations=dict(
        plans=len(evaluated),
        questions=questions_asked,
        saved=saved,
        errors=halving.ERRORS,
        flops=sum(float(trial.flops.sum()) for trial in trials.values()),
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
    + f'; {saved} of {number * examples} questions were saved on plans that '
    f'others were {halving.ERRORS:g} standard errors ahead of'
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


class _Eta:
  """How long what is left takes, by the time that questions took just now.

  Attributes:
    left: FLOPs that are still to come.
  """

  def __init__(self, left: float):
    self.left = left
    self._seconds = self._flops = 0.0

  def asked(self, flops: float, seconds: float | None) -> None:
    """So much was asked; in None where most of it was there before."""
    self.left -= flops
    if seconds is not None:
      self._seconds, self._flops = self._seconds + seconds, self._flops + flops

  def __str__(self) -> str:
    if not self._flops:
      return ''
    left = console.duration(self.left * self._seconds / self._flops)
    return f', ETA {left}'

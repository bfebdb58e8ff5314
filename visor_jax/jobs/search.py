"""Search: which plans are viable.

Plans are evaluated on training questions; those that no cheaper or equally
cheap plan matches stay, the smallest and the largest among them.
"""

from collections.abc import Mapping
import json
import math
import time

import numpy as np

from visor_jax.eval import costs
from visor_jax.eval import questions
from visor_jax.eval import run as eval_run
from visor_jax.jobs import candidates
from visor_jax.jobs import halving
from visor_jax.jobs import run as run_lib
from visor_jax.runtime import claim
from visor_jax.runtime import console
from visor_jax.spec import plan as plans
from visor_jax.training import metrics


def search(run: run_lib.Run) -> tuple[plans.Plan, ...]:
  """Finds the viable plans and writes search/plans.json.

  Which plans are evaluated says candidates.py. Those that are clearly worse
  answer a part of the questions, see halving.py.

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
  planned = candidates.of(
    layout, options, lambda plan: complete.get(plan, (-1.0, 0.0))[0]
  )
  by_layers = prices(under_test, options.examples)
  count, number = len(layout.optional), len(planned.layers)
  exhaustive_flops = sum(
    math.comb(count, layers) * price for layers, price in enumerate(by_layers)
  )
  eta = _Eta(sum(by_layers[layers] for layers in planned.layers))
  console.log(
    f'search {"of every plan" if planned.exhaustive else "by greed"}, at '
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
    for contenders in planned.rounds:
      for plan, better in halving.run(contenders, ask, trials, parts, ends):
        trial = trials[plan]
        evaluated.append(halving.row(plan, trial))
        row = dict(accuracy=trial.accuracy, llm_prefill_flops=trial.cost)
        log.write(len(evaluated), row)
        if better is None:
          complete[plan] = trial.accuracy, trial.cost
          continue
        eta.left -= by_layers[sum(plan)] * (1 - trial.count / examples)
        console.log(
          f'search: plan {plans.name(plan)} is asked no further: '
          f'{plans.name(better)}, which costs no more, is '
          f'{halving.ahead(trials[better], trial):.1f} standard errors ahead'
        )
  viable = front(complete, layout, under_test.model.architecture.router.plans)
  saved = number * examples - sum(trial.count for trial in trials.values())
  text = json.dumps(
    dict(
      viable=[[int(on) for on in plan] for plan in viable],
      evaluated=evaluated,
      evaluations=dict(
        plans=len(evaluated),
        questions=number * examples - saved,
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
    + f'; {saved} of {number * examples} questions were saved'
  )
  return viable


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

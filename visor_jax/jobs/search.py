"""Search: which plans are viable.

Plans are evaluated on training questions; those that no cheaper or equally
cheap plan matches stay, the smallest and the largest among them.
"""

import itertools
import json
import math
import pathlib
import time

import numpy as np

from visor_jax.eval import generate
from visor_jax.eval import run
from visor_jax.runtime import claim
from visor_jax.runtime import console
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib


def search(
  subject: run.ModelUnderTest, workdir, config
) -> tuple[plans.Plan, ...]:
  """Finds the viable plans and writes search/plans.json.

  Up to `search.exhaustive` optional layers every plan is evaluated, beyond that
  those that `greedy` asks for; never more than `search.budget` of them.

  Args:
    subject: with the parameters of the full stage.
    workdir: of the run.
    config: the whole config.

  Returns:
    Viable plans by cost.
  """
  folder = pathlib.Path(workdir) / 'search'
  layout, examples = subject.model.layout, config.search.examples
  count = len(layout.optional)
  every = count <= config.search.exhaustive
  levels = (
    [sum(p) for p in layout.plans]
    if every
    else [0, *(n for n in range(1, count + 1) for _ in range(count + 1 - n))]
  )
  tried = {}
  some = layout.plans if every else greedy(layout, lambda plan: tried[plan][0])
  budget = config.search.budget
  if 0 < budget < len(levels):  # the largest plan is always one of them
    some = itertools.chain(itertools.islice(some, budget - 1), [layout.max])
    levels = [*levels[: budget - 1], count]

  price = prices(subject, examples)
  whole = sum(math.comb(count, n) * price[n] for n in range(count + 1))
  left, spent, done = sum(price[n] for n in levels), 0.0, 0
  words = lambda n, flops: (
    f'{n} plans, {n * examples} questions, {flops:.3g} FLOPs of LLM prefill'
  )
  console.log(
    f'search {"of every plan" if every else "by greed"}: '
    f'{words(len(levels), left)}; every plan would be '
    f'{words(2**count, whole)}'
  )
  for plan in some:
    selection, began = plans.Selection('fixed', plan), time.monotonic()
    known = (folder / 'answers' / str(selection)).exists()  # says no time
    rows = run.answers(
      subject,
      'search',
      examples,
      selection,
      folder / 'answers',
      config.eval,
      config.eval.score,
    )
    tried[plan] = (
      float(np.mean([r['score'] for r in rows])),
      float(np.mean([r['llm_prefill_flops'] for r in rows])),
    )
    left -= price[sum(plan)]
    if not known:
      spent, done = spent + time.monotonic() - began, done + price[sum(plan)]
    console.log(
      f'search: plan {len(tried)} of {len(levels)} is '
      f'{plans.name(plan)}, accuracy {tried[plan][0]:.4f}'
      + (f', ETA {console.duration(left * spent / done)}' if done else '')
    )

  viable = front(tried, layout, config.search.max_plans)
  bits = lambda plan: [int(on) for on in plan]
  bill = lambda n, flops: dict(plans=n, questions=n * examples, flops=flops)
  claim.write_shared(
    folder / 'plans.json',
    json.dumps(
      dict(
        viable=[bits(p) for p in viable],
        evaluated=[
          dict(plan=bits(p), accuracy=a, flops=f) for p, (a, f) in tried.items()
        ],
        evaluations=bill(
          len(tried), examples * sum(f for _, f in tried.values())
        ),
        exhaustive_would_be=bill(2**count, whole),
      ),
      indent=1,
    ),
  )
  console.log(
    f'{len(viable)} of {len(tried)} plans are viable: '
    + '; '.join(plans.name(p) for p in viable)
  )
  return viable


def prices(subject: run.ModelUnderTest, examples: int) -> list[int]:
  """LLM prefill FLOPs of a plan by how many of its layers run.

  Which of them run hardly matters to the cost. Lengths are those of the first
  questions.
  """
  count = len(subject.model.layout.optional)
  lengths = run.lengths(subject.suite, 'search', examples)
  return [
    examples
    * generate.prefill_flops(
      subject.model.architecture, (True,) * n + (False,) * (count - n), *lengths
    )
    for n in range(count + 1)
  ]


def greedy(layout: plans.Layout, accuracy):
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
    more = [
      plan[:i] + (True,) + plan[i + 1 :] for i, on in enumerate(plan) if not on
    ]
    yield from more
    plan = max(more, key=accuracy)


def front(tried: dict, layout: plans.Layout, most: int):
  """Plans on the accuracy-cost front, by cost.

  Args:
    tried: {plan: (accuracy, FLOPs)}.
    layout: whose smallest and largest plans stay in any case.
    most: keep at most so many, those furthest apart in accuracy.
  """
  keep = [layout.min]
  best = tried[layout.min][0]
  inner = [p for p in tried if p not in (layout.min, layout.max)]
  for plan in sorted(inner, key=lambda p: (tried[p][1], -tried[p][0])):
    if tried[plan][0] > best:
      best = tried[plan][0]
      keep.append(plan)
  keep.append(layout.max)
  while len(keep) > most:
    gains = [tried[b][0] - tried[a][0] for a, b in zip(keep, keep[1:-1])]
    del keep[1 + int(np.argmin(gains))]
  return tuple(keep)


def load(workdir) -> tuple[plans.Plan, ...]:
  """The viable plans of a workdir, by cost.

  Raises:
    ValueError: the search has not run.
  """
  file = workdir_lib.Workdir(pathlib.Path(workdir)).plans
  path = claim.require(file, 'search')
  return tuple(
    tuple(map(bool, p)) for p in json.loads(path.read_text())['viable']
  )

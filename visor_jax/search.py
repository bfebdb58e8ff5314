"""Search: which plans are viable.

Plans are evaluated on training questions; those that no cheaper or equally
cheap plan matches stay, the smallest and the largest among them.
"""

import json
import pathlib

import numpy as np

from visor_jax import log
from visor_jax import plan as plans
from visor_jax import workdir as workdir_lib
from visor_jax.eval import run


def search(subject: run.Subject, workdir, config) -> tuple[plans.Plan, ...]:
  """Finds the viable plans and writes search/plans.json.

  Args:
    subject: with the parameters of the full stage.
    workdir: of the run.
    config: the whole config.

  Returns:
    Viable plans by cost.
  """
  folder = pathlib.Path(workdir) / 'search'
  layout = subject.model.layout
  tried = {}

  def accuracy(plan):
    if plan not in tried:
      rows = run.answers(subject, 'search', config.search.examples,
                         plans.Selection('fixed', plan), folder / 'answers',
                         config.eval, config.eval.score)
      tried[plan] = (float(np.mean([r['score'] for r in rows])),
                     float(np.mean([r['llm_prefill_flops'] for r in rows])))
    return tried[plan][0]

  if len(layout.optional) <= config.search.exhaustive:
    for plan in layout.plans:
      accuracy(plan)
  else:
    greedy(layout, accuracy)
  viable = front(tried, layout, config.search.max_plans)
  workdir_lib.write(folder / 'plans.json', json.dumps(dict(
      viable=[[int(on) for on in p] for p in viable],
      evaluated=[dict(plan=[int(on) for on in p], accuracy=a, flops=f)
                 for p, (a, f) in tried.items()]), indent=1))
  log.say(f'{len(viable)} of {len(tried)} plans are viable: '
          + '; '.join(plans.name(p) for p in viable))
  return viable


def greedy(layout: plans.Layout, accuracy) -> None:
  """From no optional SELF layer, adds the best one until all run."""
  plan = layout.min
  accuracy(plan)
  while not all(plan):
    more = [plan[:i] + (True,) + plan[i + 1:]
            for i, on in enumerate(plan) if not on]
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
  path = workdir_lib.made(workdir, 'search/plans.json', 'search')
  return tuple(tuple(map(bool, p))
               for p in json.loads(path.read_text())['viable'])

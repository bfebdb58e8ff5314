"""The router on families that it has not learned from, beside the ordinary one.

Both are trained from the same network on the same labels, but for those of
these families, and answer the same test questions. One of them is the run's
own; the other is trained here.
"""

from collections.abc import Callable
from collections.abc import Sequence
import copy
import dataclasses
import pathlib
from typing import Any

import numpy as np

from visor_jax.analysis import layerwise
from visor_jax.eval import run as eval_run
from visor_jax.jobs import run as run_lib
from visor_jax.jobs import train
from visor_jax.runtime import outcomes
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib

ROUTER = plans.Selection('router')
STAGE = 'policy'


def measure(
  run: run_lib.Run, folder: pathlib.Path, without: Sequence[str], count: int
) -> dict[str, Any]:
  """Trains the router that is missing, and asks both and the largest plan.

  Args:
    run: whose network they choose for.
    folder: where the other router and the answers are kept.
    without: names of families to leave out.
    count: test questions.

  Returns:
    without; confidence {'ordinary', 'without'}; families, rows of family,
    group, left_out, n and for 'ordinary', 'without' and 'max' each accuracy
    and flops (LLM prefill, mean per question).
  """
  ordinary = _router(run, folder, ())
  other = _router(run, folder, without)
  largest = plans.Selection('fixed', ordinary.model.layout.max)
  answers = {
    name: eval_run.answers(
      under_test,
      layerwise.STREAM,
      count,
      selection,
      folder / _name(left_out) / 'answers',
      run.config.eval,
      run.config.eval.score,
    )
    for name, under_test, selection, left_out in (
      ('ordinary', ordinary, ROUTER, ()),
      ('without', other, ROUTER, without),
      ('max', ordinary, largest, ()),
    )
  }
  families = [answer['family'] for answer in answers['max']]
  return layerwise.plain(
    dict(
      without=list(without),
      confidence=dict(ordinary=ordinary.confidence, without=other.confidence),
      families=[
        dict(
          family=family,
          group=ordinary.suite.group(family),
          left_out=family in without,
          n=families.count(family),
        )
        | {
          name: dict(
            accuracy=_mean(part, family, 'score'),
            flops=_mean(part, family, 'llm_prefill_flops'),
          )
          for name, part in answers.items()
        }
        for family in sorted(set(families))
      ],
    )
  )


def _mean(answers: Sequence[eval_run.Answer], family: str, key: str) -> float:
  return float(np.mean([a[key] for a in answers if a['family'] == family]))


def _router(
  run: run_lib.Run, folder: pathlib.Path, without: Sequence[str]
) -> eval_run.ModelUnderTest:
  """Who routes without having learned from some families."""
  if set(without) == set(run.config.policy.without):
    return run.answering(ROUTER)
  config = copy.deepcopy(run.config)
  config.policy.without = tuple(without)
  other = dataclasses.replace(
    run,
    config=config,
    workdir=workdir_lib.Workdir(folder / _name(without)),
    before=run.workdir,
  )
  train.train_router(other, STAGE)
  return other.answering(ROUTER)


def _name(without: Sequence[str]) -> str:
  return 'without-' + '+'.join(without) if without else 'ordinary'


def one_of_each_group(
  labels: Sequence[outcomes.Label], group: Callable[[str], str]
) -> tuple[str, ...]:
  """The last family of each group by name, of those that have labels.

  Args:
    labels: of a run.
    group: family -> its group.

  Returns:
    Their names; none where no group has more than one.
  """
  families = sorted({row['family'] for row in labels})
  last = {group(family): family for family in families}
  return tuple(sorted(last.values())) if len(families) > len(last) else ()

"""The router on families that it has not learned from, beside the ordinary one.

Both are trained from the same network on the same labels, but for those of
these families, and answer the same test questions. One of them is the run's
own; the other is trained here.
"""

import copy
import pathlib

import numpy as np

from visor_jax.analysis import layerwise
from visor_jax.eval import run
from visor_jax.jobs import calibrate
from visor_jax.jobs import labels as labels_lib
from visor_jax.jobs import search
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import inputs as inputs_lib
from visor_jax.training import loop


def measure(
  subject, suite, mesh, config, workdir, folder, without, count: int
) -> dict:
  """Trains the router that is missing, and asks both and the largest plan.

  Args:
    subject: (stage, config, workdir, viable, confidence) -> run.Subject.
    suite: its questions.
    mesh: of mesh.make.
    config: the whole config of the run.
    workdir: of the run.
    folder: where the other router and the answers are kept.
    without: names of families to leave out.
    count: test questions.

  Returns:
    without; confidence {'ordinary', 'without'}; families, rows of family,
    group, left_out, n and for 'ordinary', 'without' and 'max' each accuracy
    and flops (LLM prefill, mean per question).
  """
  folder = pathlib.Path(folder)
  made = lambda out: _router(
    subject, suite, mesh, config, workdir, folder / _name(out), out
  )
  ordinary, blind = made(()), made(without)
  router, largest = (
    plans.Selection('router'),
    plans.Selection('fixed', ordinary.model.layout.max),
  )
  asked = {
    name: run.answers(
      who,
      layerwise.STREAM,
      count,
      selection,
      folder / _name(out) / 'answers',
      config.eval,
      config.eval.score,
    )
    for name, who, selection, out in (
      ('ordinary', ordinary, router, ()),
      ('without', blind, router, without),
      ('max', ordinary, largest, ()),
    )
  }
  families = [r['family'] for r in asked['max']]
  mean = lambda name, family, key: float(
    np.mean([r[key] for r in asked[name] if r['family'] == family])
  )
  return layerwise.plain(
    dict(
      without=list(without),
      confidence=dict(ordinary=ordinary.confidence, without=blind.confidence),
      families=[
        dict(
          family=family,
          group=suite.group(family),
          left_out=family in without,
          n=families.count(family),
        )
        | {
          name: dict(
            accuracy=mean(name, family, 'score'),
            flops=mean(name, family, 'llm_prefill_flops'),
          )
          for name in asked
        }
        for family in sorted(set(families))
      ],
    )
  )


def _router(subject, suite, mesh, config, workdir, folder, without):
  """Who routes without having learned from some families."""
  viable = search.load(workdir)
  if set(without) == set(config.policy.without):
    return subject('policy', config, workdir, viable, calibrate.load(workdir))
  config = copy.deepcopy(config)
  config.policy.without = tuple(without)
  labels, held_out = labels_lib.to_learn(labels_lib.load(workdir), config)
  made = lambda confidence: subject(
    'policy', config, folder, viable, confidence
  )
  inputs = inputs_lib.Inputs(
    config,
    workdir_lib.Workdir(pathlib.Path(folder)),
    mesh,
    suite,
    viable,
    labels,
    before=workdir_lib.Workdir(pathlib.Path(workdir)),
  )
  loop.train('policy', inputs)
  calibrate.calibrate(made(None), held_out, folder, config)
  return made(calibrate.load(folder))


def _name(without):
  return 'without-' + '+'.join(without) if without else 'ordinary'


def some(workdir, group) -> tuple[str, ...]:
  """The last family of each group by name, of those that have labels.

  Args:
    workdir: of the run.
    group: family -> its group.
  """
  families = sorted({r['family'] for r in labels_lib.load(workdir)})
  found = {group(f): f for f in families}
  return tuple(sorted(found.values())) if len(families) > len(found) else ()

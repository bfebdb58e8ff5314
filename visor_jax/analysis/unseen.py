"""The router on families that it has not learned from, beside the ordinary one.

A second router is trained on the same labels without those families, from the
same network, and both answer the same test questions.
"""

import copy
import pathlib

import numpy as np

from visor_jax import calibrate
from visor_jax import labels as labels_lib
from visor_jax import plan as plans
from visor_jax import search
from visor_jax import train
from visor_jax.analysis import look
from visor_jax.eval import run


def measure(subject, config, workdir, folder, without, count: int) -> dict:
  """Trains the second router and asks both, and the largest plan.

  Args:
    subject: (stage, config, workdir, viable, confidence) -> run.Subject.
    config: the whole config of the run.
    workdir: of the run.
    folder: where the second router and the answers are kept.
    without: names of families to leave out.
    count: test questions.

  Returns:
    without; confidence {'ordinary', 'without'}; families, rows of family,
    group, left_out, n and for 'ordinary', 'without' and 'max' each accuracy
    and flops (LLM prefill, mean per question).
  """
  viable, folder = search.load(workdir), pathlib.Path(folder)
  other = copy.deepcopy(config)
  other.policy.without = tuple(without)
  ordinary = subject('policy', config, workdir, viable, calibrate.load(workdir))
  labels, held_out = labels_lib.to_learn(labels_lib.load(workdir), other)
  own = folder / '+'.join(without)
  train.train(other, 'policy', own, ordinary.mesh, ordinary.suite, viable,
              labels, before=workdir)
  blind = subject('policy', other, own, viable, None)
  calibrate.calibrate(blind, held_out, own, other)
  blind = subject('policy', other, own, viable, calibrate.load(own))

  router, largest = plans.Selection('router'), plans.Selection(
      'fixed', ordinary.model.layout.max)
  asked = {}
  for name, who, selection, where in (
      ('ordinary', ordinary, router, folder / 'ordinary'),
      ('without', blind, router, own / 'answers'),
      ('max', ordinary, largest, folder / 'ordinary')):
    asked[name] = run.answers(who, look.STREAM, count, selection, where,
                              config.eval, config.eval.score)
  families = [r['family'] for r in asked['max']]
  mean = lambda name, family, key: float(np.mean(
      [r[key] for r in asked[name] if r['family'] == family]))
  return look.plain(dict(
      without=list(without), confidence=dict(
          ordinary=ordinary.confidence, without=blind.confidence),
      families=[dict(
          family=family, group=ordinary.suite.group(family),
          left_out=family in without, n=families.count(family)) | {
              name: dict(accuracy=mean(name, family, 'score'),
                         flops=mean(name, family, 'llm_prefill_flops'))
              for name in asked} for family in sorted(set(families))]))


def some(workdir, group) -> tuple[str, ...]:
  """The last family of each group by name, of those that have labels.

  Args:
    workdir: of the run.
    group: family -> its group.
  """
  families = sorted({r['family'] for r in labels_lib.load(workdir)})
  found = {group(f): f for f in families}
  return tuple(sorted(found.values())) if len(families) > len(found) else ()

"""Calibration: how sure the router must be before it saves.

On labelled questions it has not learned from, each confidence gives an
accuracy and a cost without running anything but the router.
"""

import json
import pathlib

import numpy as np

from visor_jax.data.processing import packing
from visor_jax.eval import generate
from visor_jax.eval import run
from visor_jax.models import router
from visor_jax.runtime import claim
from visor_jax.runtime import console
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import budget
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib

POINTS = 128  # of the curve, at most


def calibrate(subject: run.ModelUnderTest, rows, workdir, config) -> None:
  """Chooses the router's confidence and writes policy/calibration.json.

  Args:
    subject: with the parameters of the policy stage.
    rows: labels that the router has not seen.
    workdir: of the run.
    config: the whole config; the cheapest confidence that keeps `policy.keep`
      of the largest plan's accuracy is taken, unless `policy.confidence` or
      `policy.select` says otherwise.
  """
  found = [
    _route(subject, rows[i : i + config.eval.batch], config.eval.batch)
    for i in range(0, len(rows), config.eval.batch)
  ]
  scores, cost = (np.concatenate(parts) for parts in zip(*found))
  right = np.array([r['scores'] for r in rows])
  most = np.mean([r['flops'][-1] for r in rows])  # max as asked, not as chosen
  every = np.arange(len(rows))

  def point(confidence):
    plan = np.asarray(router.choose(scores, len(subject.viable), confidence))
    flops = float(cost[every, plan].mean())
    return dict(
      confidence=confidence,
      share=flops / float(most),
      flops=flops,
      accuracy=float(right[every, plan].mean()),
    )

  curve = [point(c) for c in thresholds(scores[:, : len(subject.viable)])]
  chosen = config.policy.confidence
  if config.policy.select == 'argmax':
    chosen = None
  elif chosen is None:
    chosen = budget.confidence_keeping(_points(curve), 1 - config.policy.keep)
  claim.write_shared(
    pathlib.Path(workdir) / 'policy' / 'calibration.json',
    json.dumps(
      dict(
        confidence=chosen, questions=len(rows), curve=curve, argmax=point(None)
      ),
      indent=1,
    ),
  )
  console.log(
    f'router: calibrated to confidence {chosen} on {len(rows)} held-out '
    f'labels; budgets from {curve[0]["share"]:.3f} to '
    f"{curve[-1]['share']:.3f} of max's FLOPs"
  )


def thresholds(scores) -> list[float]:
  """Confidences at which choices differ, rising from 0 to 1.

  Each lies in the middle between two that questions have in a plan, so that
  rounding decides on none of them; alike questions stay together.

  Args:
    scores: of the router, [n, viable plans].
  """
  scores = np.asarray(scores, np.float64)
  odds = [
    np.logaddexp.reduce(scores[:, :j], axis=1)
    - np.logaddexp.reduce(scores[:, j:], axis=1)
    for j in range(1, scores.shape[1])
  ]  # of the first j plans to suffice
  odds = np.unique(np.clip(odds, -12, 18))  # as far as float32 can tell them
  gaps = np.diff(odds)
  wide = np.flatnonzero(gaps > 1e-4)
  if len(wide) > POINTS - 2:
    wide = np.array(
      [part[np.argmax(gaps[part])] for part in np.array_split(wide, POINTS - 2)]
    )
  middle = (odds[wide] + odds[wide + 1]) / 2 if len(wide) else odds[:0]
  return [0.0, *(1 / (1 + np.exp(-middle))).tolist(), 1.0]


def load(workdir, selection: plans.Selection = plans.Selection('router')):
  """What the router asks for: a confidence, a budget.Mix, or None for argmax.

  Args:
    workdir: of the run.
    selection: a router, with or without a target.

  Raises:
    ValueError: the policy stage has not run, or the budget cannot be met.
  """
  file = workdir_lib.Workdir(pathlib.Path(workdir)).calibration
  path = claim.require(file, 'policy')
  found = json.loads(path.read_text())
  return budget.confidence(
    selection, _points(found['curve']), found['confidence']
  )


def _points(curve):
  return tuple(
    budget.Point(*(p[k] for k in budget.Point._fields)) for p in curve
  )


def _route(subject, rows, size):
  """Router scores of labelled questions, and what plans cost: [n, plans]."""
  numbers = np.resize([r['index'] for r in rows], size)
  prompts = [
    subject.suite.prompt('label', int(numbers[i]))[0]
    for i in mesh_lib.local_rows(size, subject.mesh)
  ]
  batch = run.shard_prompts(subject, packing.stack(prompts))
  scores, _ = generate.route(subject.model, subject.params, batch)
  tokens = [
    generate.to_host(count)[: len(rows)].tolist()
    for count in (batch.visual(), batch.text())
  ]
  return generate.to_host(scores)[: len(rows)], np.array(
    [
      [
        generate.prefill_flops(subject.model.architecture, plan, *counts, 1)
        for plan in subject.viable
      ]
      for counts in zip(*tokens)
    ],
    float,
  )

"""Calibration: how sure the router must be before it saves.

On labelled questions it has not learned from, each confidence gives an
accuracy and a cost without running anything but the router.
"""

from collections.abc import Sequence
import json
import statistics
from typing import Any

import numpy as np

from visor_jax.eval import costs
from visor_jax.eval import generate
from visor_jax.eval import questions as questions_lib
from visor_jax.eval import run as eval_run
from visor_jax.jobs import run as run_lib
from visor_jax.models import router
from visor_jax.runtime import claim
from visor_jax.runtime import cluster
from visor_jax.runtime import console
from visor_jax.runtime import outcomes
from visor_jax.spec import plan as plans
from visor_jax.spec import shares
from visor_jax.training import metrics

POINTS = 128  # of the curve, at most


def calibrate(
  run: run_lib.Run,
  under_test: eval_run.ModelUnderTest,
  labels: Sequence[outcomes.Label],
) -> None:
  """Chooses the router's confidence and writes policy/calibration.json.

  The cheapest confidence that keeps `policy.keep` of the largest plan's
  accuracy on these questions is taken, unless `policy.confidence` or
  `policy.select` says otherwise.

  Args:
    run: what it works with.
    under_test: with the parameters of the policy stage.
    labels: of questions that the router has not learned from.
  """
  options = run.config.policy
  scores, flops = _route(under_test, labels, run.config.eval.batch)
  right = np.array([row['scores'] for row in labels])
  # The largest plan as asked, not as chosen.
  largest = np.mean([row['flops'][-1] for row in labels])
  every = np.arange(len(labels))
  # End to end, where the label job counted it.
  totals = [row['total_flops'] for row in labels if 'total_flops' in row]
  counted = len(totals) == len(labels)
  beside = np.array(totals) - [row['flops'] for row in labels] if counted else 0

  def point(confidence: float | None) -> dict[str, Any]:
    plan = np.asarray(router.choose(scores, len(under_test.viable), confidence))
    spent = float(flops[every, plan].mean())
    end_to_end = (flops + beside)[every, plan].mean()
    return dict(
      confidence=confidence,
      share=spent / float(largest),
      total=float(end_to_end / np.mean(totals, 0)[-1]) if counted else None,
      flops=spent,
      accuracy=float(right[every, plan].mean()),
      # The largest plan always, as the last of a curve chooses, loses nothing.
      retained=1.0
      if np.all(plan == right.shape[1] - 1)
      else retained(right[every, plan], right[:, -1], options.level),
    )

  curve = [
    point(confidence)
    for confidence in thresholds(scores[:, : len(under_test.viable)])
  ]
  with metrics.open_log(run.config, run.workdir, 'calibration') as log:
    for number, numbers in enumerate(curve, start=1):
      log.write(number, numbers)
  chosen = options.confidence
  if options.select == 'argmax':
    chosen = None
  elif chosen is None:
    enough = options.keep * curve[-1]['accuracy']
    good = (each for each in curve if each['accuracy'] >= enough)
    chosen = min(good, key=lambda each: each['share'])['confidence']
  claim.write_shared(
    run.workdir.calibration,
    json.dumps(
      dict(
        confidence=chosen,
        plans=[plans.name(plan) for plan in under_test.viable],
        level=options.level,
        questions=len(labels),
        **under_test.suite.fit('label', run.config.label.examples).left_out,
        curve=curve,
        argmax=point(None),
      ),
      indent=1,
    ),
  )
  console.log(
    f'router: calibrated to confidence {chosen} on {len(labels)} held-out '
    'labels; budgets '
    + ', '.join(
      'from {} to {} of '.format(*shares.inside(curve[0][key], curve[-1][key]))
      + shares.WORDS[of]
      for key, of in (('share', shares.PREFILL), ('total', shares.TOTAL))
      if curve[0][key] is not None
    )
  )


def thresholds(scores: np.ndarray) -> list[float]:
  """Confidences at which choices differ, rising from 0 to 1.

  Each lies in the middle between two that questions have in a plan, so that
  rounding decides on none of them; alike questions stay together.

  Args:
    scores: of the router, [n, viable plans].
  """
  scores = np.asarray(scores, np.float64)
  odds_by_plan = [
    np.logaddexp.reduce(scores[:, :j], axis=1)
    - np.logaddexp.reduce(scores[:, j:], axis=1)
    for j in range(1, scores.shape[1])
  ]  # of the first j plans to suffice
  # As far as float32 can tell them.
  odds = np.unique(np.clip(odds_by_plan, -12, 18))
  gaps = np.diff(odds)
  wide = np.flatnonzero(gaps > 1e-4)
  if len(wide) > POINTS - 2:
    wide = np.array(
      [part[np.argmax(gaps[part])] for part in np.array_split(wide, POINTS - 2)]
    )
  middle = (odds[wide] + odds[wide + 1]) / 2 if len(wide) else odds[:0]
  return [0.0, *(1 / (1 + np.exp(-middle))).tolist(), 1.0]


def retained(scores: np.ndarray, largest: np.ndarray, level: float) -> float:
  """The share of the largest plan's accuracy that choices keep at least.

  A lower bound for the ratio of the means of two scores of the same questions
  (delta method). One question more, which the largest plan alone gets right,
  stands for those that nobody has asked: few questions of which none is lost
  promise little.

  Args:
    scores: float [n], of the chosen plans.
    largest: float [n], of the largest plan.
    level: how probable it is that the bound holds.
  """
  scores, largest = np.append(scores, 0.0), np.append(largest, 1.0)
  ratio = scores.mean() / largest.mean()
  error = np.std(scores - ratio * largest, ddof=1) / largest.mean()
  deviations = statistics.NormalDist().inv_cdf(level)
  return max(0.0, float(ratio - deviations * error / np.sqrt(len(scores))))


def _route(
  under_test: eval_run.ModelUnderTest,
  labels: Sequence[outcomes.Label],
  size: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Router scores of labelled questions, and what plans cost: [n, plans]."""
  scores, flops = [], []
  for questions in questions_lib.batches(
    under_test.suite,
    'label',
    [row['index'] for row in labels],
    size,
    under_test.mesh,
  ):
    batch = under_test.shard(questions)
    asked = sum(number is not None for number in questions.ids)
    batch_scores, _ = generate.route(under_test.model, under_test.params, batch)
    scores.append(cluster.to_host(batch_scores)[:asked])
    visual, text = (
      cluster.to_host(lengths)[:asked].tolist()
      for lengths in (batch.visual(), batch.text())
    )
    flops += [_flops(under_test, *lengths) for lengths in zip(visual, text)]
  return np.concatenate(scores), np.array(flops, float)


def _flops(
  under_test: eval_run.ModelUnderTest, visual: int, text: int
) -> list[int]:
  """What the viable plans take of a question, the router's work included."""
  return [
    costs.prefill_flops(
      under_test.model.architecture, plan, visual, text, routing=1
    )
    for plan in under_test.viable
  ]

"""Calibration: how sure the router must be before it saves.

On labelled questions it has not learned from, each confidence gives an
accuracy and a cost without running anything but the router.
"""

import json
import pathlib

import numpy as np

from visor_jax import log
from visor_jax import mesh as mesh_lib
from visor_jax import workdir as workdir_lib
from visor_jax.data import packing
from visor_jax.eval import generate
from visor_jax.eval import run
from visor_jax.models import router

CONFIDENCES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.92, 0.94, 0.96,
               0.98, 0.99, 0.995, 0.999, 1.0)


def calibrate(subject: run.Subject, rows, workdir, config) -> None:
  """Chooses the router's confidence and writes policy/calibration.json.

  Args:
    subject: with the parameters of the policy stage.
    rows: labels that the router has not seen.
    workdir: of the run.
    config: the whole config; the cheapest confidence that keeps `policy.keep`
      of the largest plan's accuracy is taken, unless `policy.confidence` or
      `policy.select` says otherwise.
  """
  scores = np.concatenate(
      [_scores(subject, rows[i:i + config.eval.batch], config.eval.batch)
       for i in range(0, len(rows), config.eval.batch)])
  right = np.array([r['scores'] for r in rows])
  cost = np.array([r['flops'] for r in rows])
  every, curve = np.arange(len(rows)), []
  for confidence in CONFIDENCES + (None,):
    plan = np.asarray(router.choose(scores, len(subject.viable), confidence))
    curve.append(dict(confidence=confidence,
                      accuracy=float(right[every, plan].mean()),
                      flops=float(cost[every, plan].mean())))
  chosen = config.policy.confidence
  if config.policy.select == 'argmax':
    chosen = None
  elif chosen is None:
    enough = config.policy.keep * right[:, -1].mean()
    # Confidence 1 takes the largest plan always, so one is enough.
    chosen = min((p for p in curve[:-1] if p['accuracy'] >= enough),
                 key=lambda p: p['flops'])['confidence']
  workdir_lib.write(
      pathlib.Path(workdir) / 'policy' / 'calibration.json', json.dumps(dict(
          confidence=chosen, questions=len(rows), curve=curve[:-1],
          argmax=curve[-1]), indent=1))
  log.say(f'router: calibrated to confidence {chosen} on {len(rows)} held-out '
          'labels')


def load(workdir) -> float | None:
  """The calibrated confidence; None for argmax.

  Raises:
    ValueError: the policy stage has not run.
  """
  path = workdir_lib.made(workdir, 'policy/calibration.json', 'policy')
  return json.loads(path.read_text())['confidence']


def _scores(subject, rows, size):
  """Router scores of labelled questions, [n, plans]."""
  numbers = np.resize([r['index'] for r in rows], size)
  batch = packing.stack([subject.suite.prompt('label', int(numbers[i]))[0]
                         for i in mesh_lib.own(size, subject.mesh)])
  scores, _ = generate.route(
      subject.model, subject.params, mesh_lib.place(batch, subject.mesh))
  return generate.whole(scores)[:len(rows)]

"""Labels: for each question the cheapest plan that is right.

Every viable plan answers every question of a slice of the training stream.
"""

import json
import pathlib

from visor_jax.eval import run
from visor_jax.runtime import claim
from visor_jax.runtime import console
from visor_jax.runtime import files
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib


def label(subject: run.ModelUnderTest, workdir, config) -> list[dict]:
  """Labels the questions and writes labels.jsonl.

  Args:
    subject: with the parameters of the universal stage.
    workdir: of the run.
    config: the whole config.

  Returns:
    A row per question: index, family, scores (of the viable plans, by cost),
    flops (likewise), label (number of the plan, None where it has none).
  """
  folder = pathlib.Path(workdir) / 'label'
  each = [
    run.answers(
      subject,
      'label',
      config.label.examples,
      plans.Selection('fixed', plan),
      folder / 'answers',
      config.eval,
      config.label.score,
    )
    for plan in subject.viable
  ]
  rows = []
  for answers in zip(*each):
    scores = [a['score'] for a in answers]
    rows.append(
      dict(
        index=answers[0]['index'],
        family=answers[0]['family'],
        scores=scores,
        flops=[a['llm_prefill_flops'] for a in answers],
        label=cheapest(scores, config.label.threshold, config.label.all_wrong),
      )
    )
  claim.write_shared(
    folder / 'labels.jsonl', ''.join(json.dumps(r) + '\n' for r in rows)
  )
  none = sum(r['label'] is None for r in rows)
  counts = {
    plans.name(p): sum(r['label'] == i for r in rows)
    for i, p in enumerate(subject.viable)
  }
  console.log(f'labels: {counts}, every plan wrong and left out: {none}')
  return rows


def cheapest(scores, threshold: float, all_wrong: str) -> int | None:
  """The first plan that reaches the threshold.

  Args:
    scores: of the plans by cost, 0 to 1.
    threshold: share of the best score that is still right.
    all_wrong: 'skip' gives no label where the best score is 0, 'cheapest' the
      cheapest plan.
  """
  best = max(scores)
  if best == 0 and all_wrong == 'skip':
    return None
  return next(i for i, s in enumerate(scores) if s >= threshold * best)


def load(workdir) -> list[dict]:
  """The rows of labels.jsonl.

  Raises:
    ValueError: the label stage has not run.
  """
  return files.read_jsonl(
    claim.require(workdir_lib.Workdir(pathlib.Path(workdir)).labels, 'label')
  )


def parts(rows: list[dict], held_out: float):
  """Labels to learn from, and those to calibrate with.

  The last `held_out` share of the questions is kept apart; both are in order.
  """
  cut = round(len(rows) * (1 - held_out))
  return rows[:cut], rows[cut:]


def to_learn(rows: list[dict], config):
  """What the router learns from, and what it is calibrated with.

  Args:
    rows: of `load`.
    config: the whole config; families of `policy.without` are in neither.

  Returns:
    [(index of the question, label), ...], and rows.

  Raises:
    ValueError: a family is unknown, or nothing is left.
  """
  without = tuple(config.policy.without)
  known = sorted({r['family'] for r in rows})
  strange = [family for family in without if family not in known]
  if strange:
    raise ValueError(
      f'policy.without names {", ".join(strange)}; the labels '
      f'are of {", ".join(known)}'
    )
  learn, held_out = (
    [r for r in part if r['family'] not in without]
    for part in parts(rows, config.label.held_out)
  )
  labels = [(r['index'], r['label']) for r in learn if r['label'] is not None]
  if not labels:
    raise ValueError(
      'no question has a label: every plan is wrong on all of '
      'them; train longer, or set label.all_wrong=cheapest'
      + ', or leave fewer families out'
      * bool(without)
    )
  return labels, held_out

"""Labels: for each question the cheapest plan that is right.

Every viable plan answers every question of a slice of the training stream.
"""

from collections.abc import Sequence
import json

import ml_collections
import numpy as np

from visor_jax.checkpoint import resolve
from visor_jax.eval import run as eval_run
from visor_jax.flops import cost as flops
from visor_jax.jobs import order
from visor_jax.jobs import run as run_lib
from visor_jax.runtime import claim
from visor_jax.runtime import console
from visor_jax.runtime import errors
from visor_jax.runtime import outcomes
from visor_jax.spec import plan as plans
from visor_jax.spec import shares
from visor_jax.training import targets


def label(run: run_lib.Run) -> list[outcomes.Label]:
  """Labels the questions with the network that all plans share.

  Args:
    run: what it works with.

  Returns:
    The rows of labels.jsonl, one a question: index, id, family, plans (names of
    the viable ones, by cost), scores, flops and total_flops (of these plans; of
    LLM prefill and end to end), label (number of the plan, None where it has
    none).

  Raises:
    ValueError: the search job or the stage before has not run.
  """
  options, viable = run.config.label, run.viable
  names = [plans.name(plan) for plan in viable]
  under_test = run.model(order.answering('fixed'), viable)
  answers_by_plan = [
    {
      answer['index']: answer
      for answer in eval_run.answers(
        under_test,
        'label',
        options.examples,
        plans.Selection('fixed', plan),
        run.workdir.answers('label'),
        run.config.eval,
        options.score,
      )
    }
    for plan in viable
  ]
  labels = []
  for index in answers_by_plan[0]:
    answers = [answers_of[index] for answers_of in answers_by_plan]
    scores = [answer['score'] for answer in answers]
    labels.append(
      dict(
        index=index,
        id=answers[0].get('id', index),  # of older answers, none
        family=answers[0]['family'],
        plans=names,
        scores=scores,
        flops=[answer['llm_prefill_flops'] for answer in answers],
        total_flops=[answer['total_flops'] for answer in answers],
        label=cheapest(scores, options.threshold, options.all_wrong),
      )
    )
  claim.write_shared(
    run.workdir.labels, ''.join(json.dumps(row) + '\n' for row in labels)
  )
  chosen = [row['label'] for row in labels]
  counts = {name: chosen.count(number) for number, name in enumerate(names)}
  console.log(
    f'labels: {counts}, every plan wrong and left out: {chosen.count(None)}'
  )
  return labels


def cheapest(
  scores: Sequence[float], threshold: float, all_wrong: str
) -> int | None:
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
  return next(i for i, score in enumerate(scores) if score >= threshold * best)


def parts(
  labels: Sequence[outcomes.Label], held_out: float
) -> tuple[list[outcomes.Label], list[outcomes.Label]]:
  """Labels to learn from, and those to calibrate with.

  The last `held_out` share of the questions is kept apart; both are in order.
  They are cut by record: of those apart, what shares its id with one to learn
  from is in neither.
  """
  cut = round(len(labels) * (1 - held_out))
  learned = {(row['family'], row['id']) for row in labels[:cut]}
  held_out_rows = [
    row for row in labels[cut:] if (row['family'], row['id']) not in learned
  ]
  return list(labels[:cut]), held_out_rows


def split(
  labels: Sequence[outcomes.Label], config: ml_collections.ConfigDict
) -> tuple[list[targets.Target], list[outcomes.Label]]:
  """What the router learns from, and what it is calibrated with.

  Args:
    labels: of all questions.
    config: the whole config; families of `policy.without` are in neither.

  Returns:
    Targets of questions, as `policy.loss` needs them, and the labels of other
    questions.

  Raises:
    ValueError: a family is unknown, nothing is left, or no router can spend
      `policy.budget`.
  """
  without = tuple(config.policy.without)
  families = sorted({row['family'] for row in labels})
  unknown = [family for family in without if family not in families]
  if unknown:
    raise errors.Refusal(
      f'policy.without names {", ".join(unknown)}; the labels '
      f'are of {", ".join(families)}'
    )
  learn, held_out = (
    [row for row in part if row['family'] not in without]
    for part in parts(labels, config.label.held_out)
  )
  to_learn = targets.TARGETS[config.policy.loss](learn, config.policy.budget_of)
  if not to_learn:
    raise errors.Refusal(
      'no question has a label: every plan is wrong on all of '
      'them; train longer, or set label.all_wrong=cheapest'
      + (', or leave fewer families out' if without else '')
    )
  if not held_out:
    raise errors.Refusal(
      f'none of {len(labels)} labels is left to calibrate with: those held out '
      'have the ids of records that are learned from, or are of policy.without;'
      ' raise label.held_out or label.examples'
    )
  if config.policy.loss == 'reward':
    _check_budget(learn, config)
  return to_learn, held_out


def _check_budget(
  rows: Sequence[outcomes.Label], config: ml_collections.ConfigDict
) -> None:
  """Whether a router can spend as little as `policy.budget` on these questions.

  Else the price rises with every step, whatever it learns. Its own work is that
  for the shortest prompt, which is little less than for others.
  """
  model = resolve.architecture(config)
  routing = flops.cost(model, model.layout.min, 0, 1, routing=1).routing
  asked, of = config.policy.budget, config.policy.budget_of
  taken = np.mean([row[targets.TAKEN[of]] for row in rows], 0)
  least, most = (taken[[0, -1]] + routing) / taken[-1]
  if asked < least:
    raise errors.Refusal(
      f'policy.budget is {asked:g}: {shares.spends(least, most, of)}'
    )

"""From answers to results: a row per family, selector and plan."""

import collections
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from visor_jax.flops import accounting
from visor_jax.spec import plan as plans
from visor_jax.spec import shares

MEANS = (
  'llm_prefill_flops',
  'visual_flops',
  'vision_flops',
  'decode_flops',
  'total_flops',
  'cache_bytes',
  'tokens',
)

# By what a budget is a share of: what answers took, and what max would have.
_SPENT = {
  shares.PREFILL: ('llm_prefill_flops', 'max_prefill_flops'),
  shares.TOTAL: ('total_flops', 'max_total_flops'),
}

# How all of a row is counted.
_ACCOUNTING = (
  accounting.NOMINAL.describe().removesuffix('.')
  + ', which the total adds: the tokens of the answer but the first.'
)

Row = dict[str, Any]  # of answers or of results
Rows = Sequence[Row]


def _nothing_beside(answers: Rows) -> Row:
  return {}


def rows(
  answers: Mapping[plans.Selection, Rows],
  groups: Callable[[str], str],
  measured: Mapping[plans.Selection, Row] | None = None,
  result: Callable[[Rows], Row] = _nothing_beside,
  **stamp: Any,
) -> list[Row]:
  """Rows of results.jsonl.

  Args:
    answers: what eval.run.answers gave, by selection.
    groups: family -> its group.
    measured: what eval.measure found, by selection.
    result: answers of a family -> what is said beside or instead.
    **stamp: keys that every row carries: seed, versions, config.

  Returns:
    family, group, selector, plan, accuracy, n; means per question, nominal:
      llm_prefill_flops: behind the connector, routing included,
      visual_flops: of them, what the visual tokens take: the same prompt
        without them takes so many less,
      vision_flops: vision tower and connector,
      decode_flops: the tokens of the answer but the first,
      total_flops: prefill, vision and decoding,
      cache_bytes: that the prompt's own tokens keep for those to come,
      tokens: of the answer, its end included;
    flops_saved and total_saved (against base, as the FLOPs of the same name),
    accounting; measured (first_token_s, tokens_per_s, peak_bytes, ... of the
    selection, see eval.measure; None where it was not); for a router `chosen`,
    how often it took which plan; for a router with a target `promised`, the
    budget or 1 - drop, and `delivered`, over the questions of all families the
    share of what `budget_of` says, or of the accuracy, of max (None without
    answers of max). Of the stamp: `method`, the token reduction, and
    `method_asked`, as eval.reduce has it: 'shortv:0.5' where `method` names the
    layers that were found. And of the questions of all families,
    those that were not asked: `too_long`, that did not fit, `broken`, whose
    record is, and `repeated`, whose record was asked.
  """
  table = []
  for selection, asked in answers.items():
    promise = _promise(selection, answers)
    for family, part in _by_family(asked).items():
      cost, total = _mean(part, 'llm_prefill_flops'), _mean(part, 'total_flops')
      row = dict(
        family=family,
        group=groups(family),
        selector=selection.selector,
        plan=selection.plan and [int(on) for on in selection.plan],
        accuracy=_mean(part, 'score'),
        n=len(part),
        **{key: _mean(part, key) for key in MEANS},
        flops_saved=_mean(part, 'base_prefill_flops') / cost,
        total_saved=_mean(part, 'base_total_flops') / total,
        accounting=_ACCOUNTING,
        measured=(measured or {}).get(selection),
        **promise,
        **stamp,
      )
      if selection.selector == 'router':
        row['chosen'] = _plans_taken(part)
      table.append(row | result(part))
  return table


def numbers(table: Rows) -> dict[str, float]:
  """What a writer of metrics gets of rows of results.

  Returns:
    {'docvqa/router@0.5/accuracy': 0.8, ...}; a token reduction stands before
    the plan.
  """
  return {
    '/'.join(
      filter(None, (row['family'], row.get('method'), _asked(row), key))
    ): (row[key])
    for row in table
    for key in ('accuracy', 'llm_prefill_flops', 'total_flops', 'flops_saved')
  }


def _asked(row: Row) -> str:
  """The selection of a row, in the grammar of plans."""
  plan = row['plan'] and tuple(map(bool, row['plan']))
  targets = {
    key: row[key] for key in ('budget', 'budget_of', 'drop') if key in row
  }
  return str(plans.Selection(row['selector'], plan, **targets))


def _plans_taken(answers: Rows) -> dict[str, int]:
  """How often which plan was taken, by its name."""
  return dict(
    collections.Counter(
      plans.name(tuple(map(bool, row['plan']))) for row in answers
    )
  )


def _promise(
  selection: plans.Selection, answers: Mapping[plans.Selection, Rows]
) -> Row:
  """What a router with a target promised, and what it delivered."""
  asked = answers[selection]
  if selection.budget is not None:
    spent, largest_spent = _SPENT[selection.budget_of]
    return dict(
      budget=selection.budget,
      budget_of=selection.budget_of,
      promised=selection.budget,
      delivered=_mean(asked, spent) / _mean(asked, largest_spent),
    )
  if selection.drop is None:
    return {}
  largest = next((s for s in answers if s.plan and all(s.plan)), None)
  highest = _mean(answers[largest], 'score') if largest else 0.0
  return dict(
    drop=selection.drop,
    promised=1 - selection.drop,
    delivered=_mean(asked, 'score') / highest if highest else None,
  )


def _by_family(answers: Rows) -> dict[str, list[Row]]:
  families = collections.defaultdict(list)
  for row in answers:
    families[row['family']].append(row)
  return families


def _mean(answers: Rows, key: str) -> float:
  return sum(row[key] for row in answers) / len(answers)

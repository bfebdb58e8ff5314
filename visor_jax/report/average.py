"""Averages of results: what one selector or plan reaches, and at what cost.

Inside a group every question counts the same; the two groups then count half
each, so that a large coarse benchmark cannot hide a loss in fine detail.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
from typing import Any

from visor_jax.spec import plan as plans
from visor_jax.spec import shares

GROUPS = ('coarse', 'fine')

# A row of results.jsonl, see eval/results.py: {key: JSON value}.
Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Mean:
  """Averages over questions.

  Attributes:
    accuracy: 0 to 1.
    error: standard error of `accuracy` from the number of questions: exact
      for right-or-wrong answers, an upper bound for scores in between.
    low: lower end of the interval that holds it 19 times in 20, see `wilson`.
    high: its upper end.
    flops: LLM prefill FLOPs per question.
    base_flops: what the base model needs for the same questions.
    total_flops: end to end, vision tower and decoding with it; 0 where rows
      do not say.
    base_total_flops: likewise, of the base model.
    first_token_s: seconds to the first tokens of a batch; 0 where it was not
      measured.
  """

  accuracy: float
  error: float
  low: float
  high: float
  flops: float
  base_flops: float
  total_flops: float = 0.0
  base_total_flops: float = 0.0
  first_token_s: float = 0.0

  @property
  def saved(self) -> float:
    """Base FLOPs over FLOPs: a ratio of means, not a mean of ratios."""
    return self.base_flops / self.flops

  @property
  def total_saved(self) -> float:
    """The same end to end."""
    return self.base_total_flops / (self.total_flops or 1)


@dataclasses.dataclass(frozen=True)
class Summary:
  """What one selection reached.

  Attributes:
    name: 'base', 'router', with its target if it has one, or the name of the
      fixed plan; the token reduction, where the base does with fewer visual
      tokens, and behind the others.
    means: averages over 'coarse' and 'fine', where evaluated, and over 'all'.
    questions: how many of each family; summaries whose questions differ must
      not be compared.
    method: the token reduction, see reduction/grammar.py; '' for none.
  """

  name: str
  means: dict[str, Mean]
  questions: dict[str, int]
  method: str = ''

  @property
  def is_fixed(self) -> bool:
    """One plan for all questions, without token reduction."""
    return not (self.method or self.name.startswith(('base', 'router')))

  @property
  def is_visor(self) -> bool:
    """A plan, or the router without a target; with any token reduction."""
    selection = self.name.partition(' ')[0]
    return not self.is_rival and (
      selection == 'router' or not selection.startswith(('base', 'router'))
    )

  @property
  def is_rival(self) -> bool:
    """The base with fewer visual tokens."""
    return bool(self.method) and self.name == self.method

  @property
  def all(self) -> Mean:
    """Over both groups."""
    return self.means['all']


def name(row: Row) -> str:
  """Name of the row's selection, in the grammar of spec/plan.py.

  With token reduction 'router pack:2'; the base with one is that alone.
  """
  selection = str(
    plans.Selection(
      row['selector'],
      row['plan'],
      row.get('budget'),
      row.get('drop'),
      row.get('budget_of', shares.PREFILL),  # of older rows
    )
  )
  method = row.get('method') or ''
  if method and selection == 'base':
    return method
  return f'{selection} {method}'.strip()


def latest(rows: Iterable[Row]) -> list[Row]:
  """Without those that a later row of the same family and plan replaces."""
  return list({(row['family'], name(row)): row for row in rows}.values())


def summaries(rows: Iterable[Row]) -> list[Summary]:
  """One for each selection: base, the plans from costly to cheap, router.

  Behind them those with fewer visual tokens, method by method.
  """
  rows_by_name = collections.defaultdict(list)
  for row in latest(rows):
    rows_by_name[name(row)].append(row)
  return sorted(
    (_summary(selection, rows) for selection, rows in rows_by_name.items()),
    key=_rank,
  )


def _rank(summary: Summary) -> tuple[str, bool, bool, bool, float, str]:
  return (
    summary.method.partition(':')[0],
    bool(summary.method) and not summary.is_rival,
    summary.name != 'base',
    summary.name.startswith('router'),
    -summary.all.flops,
    summary.name,
  )


def families(rows: Iterable[Row]) -> dict[str, str]:
  """The group of each family, the coarse ones first, as they were met."""
  groups = {row['family']: row['group'] for row in rows}
  return dict(sorted(groups.items(), key=lambda item: item[1]))


def comparable(a: Summary, b: Summary) -> bool:
  """Whether both answered the same number of questions of every family."""
  return a.questions == b.questions


def plan_order(plan_name: str) -> tuple[bool, int, tuple[int, ...]]:
  """Sort key of names of plans: min, those of few layers, then of many, max.

  Raises:
    ValueError: the name is of no plan.
  """
  if plan_name in ('min', 'max'):
    return (plan_name == 'max', 0, ())
  try:
    layers = tuple(int(i) for i in plan_name.split(','))
  except ValueError:
    raise ValueError(
      f'"{plan_name}" is not the name of a plan: min, max or positions like '
      '0,2; see visor_jax/spec/plan.py'
    ) from None
  return (False, len(layers), layers)


def wilson(accuracy: float, questions: int) -> tuple[float, float]:
  """Ends of the interval that holds an accuracy 19 times in 20.

  It is not empty where all answers are right (Wilson, JASA 22, 1927).
  """
  z = 1.96
  centre = accuracy + z**2 / (2 * questions)
  variance = accuracy * (1 - accuracy) / questions
  half = z * math.sqrt(variance + (z / (2 * questions)) ** 2)
  scale = 1 + z**2 / questions
  return (centre - half) / scale, (centre + half) / scale


def interval(row: Row) -> str:
  """Accuracy of a row in %, with its interval and how many were asked."""
  low, high = wilson(row['accuracy'], row['n'])
  return (
    f'{100 * row["accuracy"]:.1f} % of {row["n"]:,}; 19 times in 20 '
    f'between {100 * low:.1f} and {100 * high:.1f}'
  )


def per_question(rows: Iterable[Row], value: Callable[[Row], float]) -> float:
  """Mean of a value: questions of a group count alike, groups half each."""
  rows, means = list(rows), []
  for group in GROUPS:
    of_group = [row for row in rows if row['group'] == group]
    if sum(row['n'] for row in of_group):
      means.append(_mean(of_group, value))
  return sum(means) / len(means)


def _summary(selection: str, rows: Sequence[Row]) -> Summary:
  means = {}
  for group in GROUPS:
    of_group = [row for row in rows if row['group'] == group]
    if of_group:
      means[group] = _over_questions(of_group)
  halves = list(means.values())
  accuracy = sum(half.accuracy for half in halves) / len(halves)
  below = math.hypot(*(half.accuracy - half.low for half in halves))
  above = math.hypot(*(half.high - half.accuracy for half in halves))
  means['all'] = Mean(
    accuracy,
    math.hypot(*(half.error for half in halves)) / len(halves),
    accuracy - below / len(halves),
    accuracy + above / len(halves),
    sum(half.flops for half in halves) / len(halves),
    sum(half.base_flops for half in halves) / len(halves),
    sum(half.total_flops for half in halves) / len(halves),
    sum(half.base_total_flops for half in halves) / len(halves),
    sum(half.first_token_s for half in halves) / len(halves),
  )
  return Summary(
    selection,
    means,
    {row['family']: row['n'] for row in rows},
    rows[0].get('method') or '',
  )


def _over_questions(rows: Sequence[Row]) -> Mean:
  variance = _mean(rows, lambda row: row['accuracy'] * (1 - row['accuracy']))
  questions = sum(row['n'] for row in rows)
  accuracy = _mean(rows, lambda row: row['accuracy'])
  return Mean(
    accuracy,
    math.sqrt(variance / questions),
    *wilson(accuracy, questions),
    _mean(rows, lambda row: row['llm_prefill_flops']),
    _mean(rows, lambda row: row['llm_prefill_flops'] * row['flops_saved']),
    _mean(rows, lambda row: row.get('total_flops', 0)),
    _mean(rows, _base_total),
    _mean(rows, _first_token),
  )


def _base_total(row: Row) -> float:
  return row.get('total_flops', 0) * row.get('total_saved', 0)


def _first_token(row: Row) -> float:
  return (row.get('measured') or {}).get('first_token_s', 0)


def _mean(rows: Sequence[Row], value: Callable[[Row], float]) -> float:
  """Every question counts the same."""
  return sum(row['n'] * value(row) for row in rows) / sum(
    row['n'] for row in rows
  )

"""Averages of results: what one selector or plan reaches, and at what cost.

Inside a group every question counts the same; the two groups then count half
each, so that a large coarse benchmark cannot hide a loss in fine detail.
"""

import collections
import dataclasses
import math

from visor_jax.spec import plan as plans

GROUPS = ('coarse', 'fine')


@dataclasses.dataclass(frozen=True)
class Mean:
  """Averages over questions.

  Attributes:
    accuracy: 0 to 1.
    error: standard error of `accuracy` from the number of questions: exact
      for right-or-wrong answers, an upper bound for scores in between.
    flops: LLM prefill FLOPs per question.
    base_flops: what the base model needs for the same questions.
  """

  accuracy: float
  error: float
  flops: float
  base_flops: float

  @property
  def saved(self) -> float:
    """The base's FLOPs over its own: a ratio of means, not a mean of ratios."""
    return self.base_flops / self.flops


@dataclasses.dataclass(frozen=True)
class Score:
  """What one selection reached.

  Attributes:
    name: 'base', 'router', with its target if it has one, or the name of the
      fixed plan; the token reduction, where the base does with fewer visual
      tokens, and behind the others.
    means: of 'coarse' and 'fine', where evaluated, and of 'all'.
    questions: how many of each family; scores whose questions differ must
      not be compared.
    method: the token reduction, see visor_jax/reduction.py; '' for none.
  """

  name: str
  means: dict[str, Mean]
  questions: dict[str, int]
  method: str = ''

  @property
  def fixed(self) -> bool:
    return not (self.method or self.name.startswith(('base', 'router')))

  @property
  def own(self) -> bool:
    """VISOR: a plan, or the router without a target; with any reduction."""
    who = self.name.partition(' ')[0]
    return not self.rival and (
      who == 'router' or not who.startswith(('base', 'router'))
    )

  @property
  def rival(self) -> bool:
    """The base with fewer visual tokens."""
    return bool(self.method) and self.name == self.method

  @property
  def all(self) -> Mean:
    return self.means['all']


def name(row: dict) -> str:
  """Of the row's selection, as the grammar of plan.py writes it.

  With token reduction 'router pack:2', and of the base its name alone.
  """
  who = str(
    plans.Selection(
      row['selector'], row['plan'], row.get('budget'), row.get('drop')
    )
  )
  method = row.get('method') or ''
  return method if method and who == 'base' else f'{who} {method}'.strip()


def latest(rows) -> list[dict]:
  """Without those that a later row of the same family and plan replaces."""
  return list({(row['family'], name(row)): row for row in rows}.values())


def scores(rows) -> list[Score]:
  """One score per selection: base, the plans from costly to cheap, router.

  Behind them those with fewer visual tokens, method by method.
  """
  found = collections.defaultdict(list)
  for row in latest(rows):
    found[name(row)].append(row)
  rank = lambda s: (
    s.method.partition(':')[0],
    s.method and not s.rival,
    s.name != 'base',
    s.name.startswith('router'),
    -s.all.flops,
    s.name,
  )
  return sorted((_score(n, some) for n, some in found.items()), key=rank)


def families(rows) -> dict[str, str]:
  """The group of each family, the coarse ones first, as they were met."""
  groups = {row['family']: row['group'] for row in rows}
  return dict(sorted(groups.items(), key=lambda item: item[1]))


def comparable(a: Score, b: Score) -> bool:
  """Whether both answered the same number of questions of every family."""
  return a.questions == b.questions


def front(some, group: str = 'all') -> list[Score]:
  """Those that no cheaper or equally dear one reaches, by rising cost."""
  cost = lambda s: (s.means[group].flops, -s.means[group].accuracy)
  best = []
  for score in sorted((s for s in some if group in s.means), key=cost):
    if not best or (
      score.means[group].accuracy > best[-1].means[group].accuracy
    ):
      best.append(score)
  return best


def against(some, group: str) -> list[tuple[Score, Score | None]]:
  """Every rival, and the best of VISOR's own at its cost or less.

  None where all of them cost more. Only those that answered the same questions
  are compared; without plans and router there is nothing to say.
  """
  found, here = [], [s for s in some if group in s.means]
  for rival in (s for s in here if s.rival):
    own = [s for s in here if s.own and comparable(s, rival)]
    if not own:
      continue
    at_most = [
      s for s in own if s.means[group].flops <= rival.means[group].flops
    ]
    found.append(
      (rival, max(at_most, key=lambda s: s.means[group].accuracy, default=None))
    )
  return found


def blind(some, flops: float) -> Mean | None:
  """The best that mixing fixed plans by chance reaches at a mean cost.

  This is what a router has to beat: it looks at the question, this does not.
  None where every plan costs more; the error is an upper bound.
  """
  fixed = [score.all for score in some if score.fixed]
  mixes = []
  for a in (m for m in fixed if m.flops <= flops):
    mixes.append(a)
    for b in (m for m in fixed if m.flops > flops):
      t = (flops - a.flops) / (b.flops - a.flops)
      mix = lambda key: (1 - t) * getattr(a, key) + t * getattr(b, key)
      mixes.append(
        Mean(*map(mix, ('accuracy', 'error', 'flops', 'base_flops')))
      )
  return max(mixes, key=lambda m: m.accuracy, default=None)


def order(plan_name: str):
  """Sorts names of plans: min, those of few layers, then of many, max."""
  if plan_name in ('min', 'max'):
    return (plan_name == 'max', 0, ())
  try:
    layers = tuple(int(i) for i in plan_name.split(','))
  except ValueError:
    raise ValueError(
      f'"{plan_name}" is not the name of a plan: min, max or positions like '
      '0,2; see visor_jax/plan.py'
    ) from None
  return (False, len(layers), layers)


def over(rows, value) -> float:
  """Mean of a value per question: a group's count alike, groups half each."""
  means = []
  for group in GROUPS:
    some = [row for row in rows if row['group'] == group]
    n = sum(row['n'] for row in some)
    if n:
      means.append(sum(row['n'] * value(row) for row in some) / n)
  return sum(means) / len(means)


def _score(selection: str, rows) -> Score:
  means = {}
  for group in GROUPS:
    some = [row for row in rows if row['group'] == group]
    if some:
      means[group] = _over_questions(some)
  halves = list(means.values())
  half = lambda key: sum(getattr(m, key) for m in halves) / len(halves)
  means['all'] = Mean(
    half('accuracy'),
    math.hypot(*(m.error for m in halves)) / len(halves),
    half('flops'),
    half('base_flops'),
  )
  return Score(
    selection,
    means,
    {row['family']: row['n'] for row in rows},
    rows[0].get('method') or '',
  )


def _over_questions(rows) -> Mean:
  n = sum(row['n'] for row in rows)
  mean = lambda value: sum(row['n'] * value(row) for row in rows) / n
  variance = mean(lambda r: r['accuracy'] * (1 - r['accuracy']))
  return Mean(
    mean(lambda r: r['accuracy']),
    math.sqrt(variance / n),
    mean(lambda r: r['llm_prefill_flops']),
    mean(lambda r: r['llm_prefill_flops'] * r['flops_saved']),
  )

"""Who beats whom: selections held against each other at equal cost.

A cost is the name of a field of average.Mean.
"""

import collections
from collections.abc import Iterable
import dataclasses

from visor_jax.report import average


def front(
  summaries: Iterable[average.Summary],
  group: str = 'all',
  cost: str = 'flops',
) -> list[average.Summary]:
  """Those that none of the same cost or less reaches, by rising cost."""
  best: list[average.Summary] = []
  for summary in sorted(
    (s for s in summaries if group in s.means),
    key=lambda s: (getattr(s.means[group], cost), -s.means[group].accuracy),
  ):
    accuracy = summary.means[group].accuracy
    if not best or accuracy > best[-1].means[group].accuracy:
      best.append(summary)
  return best


def visor_at_cost(
  summaries: Iterable[average.Summary], group: str, cost: str = 'flops'
) -> list[tuple[average.Summary, average.Summary | None]]:
  """Every rival, and the best of VISOR's at its cost or less.

  None where all of them cost more. Only those that answered the same questions
  are compared; a rival that no plan and no router compares with is left out.
  """
  evaluated = [s for s in summaries if group in s.means]
  pairs = []
  for rival in (s for s in evaluated if s.is_rival):
    visor = [
      s for s in evaluated if s.is_visor and average.comparable(s, rival)
    ]
    most = getattr(rival.means[group], cost)
    affordable = [s for s in visor if getattr(s.means[group], cost) <= most]
    if visor:
      best = max(
        affordable, key=lambda s: s.means[group].accuracy, default=None
      )
      pairs.append((rival, best))
  return pairs


def blind_mix(
  summaries: Iterable[average.Summary], flops: float
) -> average.Mean | None:
  """The best that mixing fixed plans by chance reaches at a mean cost.

  This is what a router has to beat: it sees the question, this does not. None
  where every plan costs more; the error is an upper bound.

  Args:
    summaries: fixed plans, and others, which are left out.
    flops: mean LLM prefill FLOPs per question.
  """
  fixed = [summary.all for summary in summaries if summary.is_fixed]
  cheaper = [mean for mean in fixed if mean.flops <= flops]
  above = [mean for mean in fixed if mean.flops > flops]
  mixes = []
  for low in cheaper:
    mixes.append(low)
    for high in above:
      share = (flops - low.flops) / (high.flops - low.flops)
      mixes.append(_mixed(low, high, share))
  return max(mixes, key=lambda mean: mean.accuracy, default=None)


def best_by_kind(rows: Iterable[average.Row], flops: float) -> float | None:
  """The best accuracy of one fixed plan for each kind of question.

  At a mean cost, chosen with the answers at hand; of one kind two plans may be
  mixed by chance. Nothing does better that can tell of a question no more than
  its kind, the first word of the family. None where every choice costs more.

  Args:
    rows: of results; fixed plans, and others, which are left out.
    flops: mean LLM prefill FLOPs per question.
  """
  fixed = [
    row
    for row in average.latest(rows)
    if row['selector'] == 'fixed' and not row.get('method')
  ]
  counts = {row['family']: (row['group'], row['n']) for row in fixed}
  asked: dict[str, int] = collections.Counter()  # in each group
  for group, n in counts.values():
    asked[group] += n
  kinds: dict[str, dict[str, _Point]] = collections.defaultdict(dict)
  for row in fixed:
    points = kinds[row['family'].split()[0]]
    share = row['n'] / asked[row['group']] / len(asked)
    cost, accuracy = points.get(average.name(row), (0.0, 0.0))
    points[average.name(row)] = (
      cost + share * row['llm_prefill_flops'],
      accuracy + share * row['accuracy'],
    )
  fronts = [_concave_front(points.values()) for points in kinds.values()]
  left = flops - sum(front[0][0] for front in fronts)
  if not fixed or left < 0:
    return None
  best = sum(front[0][1] for front in fronts)
  steps = [
    (high[0] - low[0], high[1] - low[1])
    for front in fronts
    for low, high in zip(front, front[1:])
  ]
  # Fronts are concave: the steepest steps of all are in order on each, too.
  for cost, gain in sorted(steps, key=lambda step: -step[1] / step[0]):
    best += gain * min(1.0, left / cost)
    left = max(0.0, left - cost)
  return best


_Point = tuple[float, float]  # cost and accuracy


def _concave_front(points: Iterable[_Point]) -> list[_Point]:
  """From the cheapest to the best, without those that a mix of others beats."""
  front: list[_Point] = []
  for cost, accuracy in sorted(points, key=lambda p: (p[0], -p[1])):
    if front and accuracy <= front[-1][1]:
      continue
    while len(front) > 1 and _slope(front[-2], front[-1]) <= _slope(
      front[-1], (cost, accuracy)
    ):
      front.pop()
    front.append((cost, accuracy))
  return front


def _slope(a: _Point, b: _Point) -> float:
  return (b[1] - a[1]) / (b[0] - a[0])


def _mixed(a: average.Mean, b: average.Mean, share: float) -> average.Mean:
  """`b` for this share of the questions, `a` for the others."""
  return average.Mean(
    *(
      (1 - share) * x + share * y
      for x, y in zip(dataclasses.astuple(a), dataclasses.astuple(b))
    )
  )

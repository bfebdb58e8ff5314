"""Who beats whom: selections held against each other at equal cost.

A cost is the name of a field of average.Mean.
"""

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


def _mixed(a: average.Mean, b: average.Mean, share: float) -> average.Mean:
  """`b` for this share of the questions, `a` for the others."""
  return average.Mean(
    *(
      (1 - share) * x + share * y
      for x, y in zip(dataclasses.astuple(a), dataclasses.astuple(b))
    )
  )

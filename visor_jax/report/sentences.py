"""What the results say, in sentences; **the numbers that matter**."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import math
from typing import Any

from visor_jax.report import average
from visor_jax.report import compare
from visor_jax.report import tables


def verdict(rows: Iterable[average.Row]) -> str:
  """The router against the largest plan and the base, in one sentence.

  Without the router itself it is of the best with a target or with fewer visual
  tokens, by its name; the largest plan is then that with the same tokens.
  """
  summaries = average.summaries(rows)
  router = _foremost(summaries, 'router')
  largest = _foremost(
    (s for s in summaries if not router or s.method == router.method), 'max'
  )
  if (
    router
    and largest
    and largest.all.accuracy
    and average.comparable(router, largest)
  ):
    return _router_against_max(router, largest.all)
  best = router or largest
  if not best:
    return 'Neither the router nor the largest plan was evaluated yet.'
  if not router:
    missing = 'no router was evaluated yet'
  elif not largest:
    missing = 'the largest plan was not evaluated'
    missing += f' with {router.method}' if router.method else ''
  else:
    missing = 'the largest plan answered other questions or none rightly'
  return (
    f'The {router.name if router else "largest plan"} reaches '
    f'**{tables.percent(best.all.accuracy)} %** and saves '
    f'**{tables.number(best.all.saved)}x** in LLM prefill FLOPs against the '
    f'base model; {missing}.'
  )


def _foremost(
  summaries: Iterable[average.Summary], name: str
) -> average.Summary | None:
  """That of this name, else the best of those whose names begin with it."""
  return min(
    (s for s in summaries if s.name.startswith(name)),
    key=lambda s: (s.name != name, bool(s.method), -s.all.accuracy),
    default=None,
  )


def saved(bill: Mapping[str, Any]) -> str:
  """What the search saved on plans that were clearly worse, if anything.

  Args:
    bill: `evaluations` of search/plans.json.
  """
  number = bill.get('saved', 0)  # of older searches, nothing
  if not number:
    return ''
  return (
    ' Plans were asked no further once one that costs no more was '
    f'{bill["errors"]:g} standard errors ahead on the same questions: {number} '
    f'of {number + bill["questions"]} questions were saved.'
  )


def _router_against_max(router: average.Summary, largest: average.Mean) -> str:
  mean = router.all
  return (
    f'The {router.name} keeps '
    f'**{tables.percent(mean.accuracy / largest.accuracy)} %** of the '
    f"largest plan's accuracy ({tables.percent(mean.accuracy)} against "
    f'{tables.percent(largest.accuracy)} %) at '
    f'**{tables.percent(mean.flops / largest.flops)} %** of its LLM prefill '
    'FLOPs; against the base model it saves '
    f'**{tables.number(mean.saved)}x**.'
  )


def rivals(rows: Iterable[average.Row]) -> str:
  """What the verdict must be held against; empty where there is nothing.

  Does seeing the question beat plans drawn blindly at the same cost? What does
  the base model itself reach, and what with fewer visual tokens?
  """
  rows = list(rows)
  summaries = average.summaries(rows)
  by_name = {s.name: s for s in summaries}
  sentences = []
  if 'router' in by_name:
    sentences.append(_router_against_chance(by_name['router'], summaries))
    sentences.append(_router_against_kinds(by_name['router'], summaries, rows))
  base = by_name.get('base')
  others = [s for s in summaries if s != base]
  if base and (not others or any(average.comparable(base, s) for s in others)):
    accuracy = base.all.accuracy
    sentences.append(
      f'The base model itself reaches {tables.percent(accuracy)} %.'
    )
  sentences += [
    _visor_against_rivals(summaries, group, cost)
    for group in average.GROUPS
    for cost in _COSTS
    if all(getattr(s.all, cost) for s in summaries)
  ]
  return ' '.join(sentence for sentence in sentences if sentence)


def _router_against_chance(
  router: average.Summary, summaries: Sequence[average.Summary]
) -> str:
  blind = compare.blind_mix(
    (s for s in summaries if average.comparable(s, router)), router.all.flops
  )
  if not blind:
    return ''
  gain = router.all.accuracy - blind.accuracy
  error = math.hypot(router.all.error, blind.error)
  return (
    f'Fixed plans drawn blindly at the same mean cost would reach '
    f'{tables.percent(blind.accuracy)} %, so choosing per question '
    f'{"gains" if gain >= 0 else "loses"} {tables.percent(abs(gain))} points '
    f'(standard error at most {tables.percent(error)}).'
  )


def _router_against_kinds(
  router: average.Summary,
  summaries: Sequence[average.Summary],
  rows: Sequence[average.Row],
) -> str:
  """What it gains over one plan for each kind of question."""
  best = compare.best_by_kind(rows, router.all.flops)
  if best is None or not any(
    s.is_fixed and average.comparable(s, router) for s in summaries
  ):
    return ''
  gain = router.all.accuracy - best
  return (
    'The best fixed plan for each kind of question, known with the answers at '
    f'hand, would reach {tables.percent(best)} %: looking closer than that '
    f'{"gains" if gain >= 0 else "loses"} {tables.percent(abs(gain))} points '
    f'(standard error about {tables.percent(router.all.error)}).'
  )


# What a rival takes, and VISOR no more of.
_COSTS = {'total_flops': 'FLOPs end to end', 'flops': 'LLM prefill FLOPs'}


def _visor_against_rivals(
  summaries: Sequence[average.Summary], group: str, cost: str
) -> str:
  """How the best plan or router at no more cost does against each rival."""
  pairs = compare.visor_at_cost(summaries, group, cost)
  if not pairs:
    return ''
  above, level, below, cheaper = 0, 0, [], 0
  for rival, best in pairs:
    if best is None:
      cheaper += 1
      continue
    ours, theirs = best.means[group], rival.means[group]
    gap = ours.accuracy - theirs.accuracy
    if abs(gap) <= 2 * math.hypot(ours.error, theirs.error):
      level += 1
    elif gap > 0:
      above += 1
    else:
      below.append(
        f'{rival.name} ({tables.percent(theirs.accuracy)} against '
        f'{tables.percent(ours.accuracy)} % of {best.name}, at '
        f'{tables.number(getattr(theirs, cost) / getattr(ours, cost))} times '
        'its FLOPs)'
      )
  sentence = (
    f'On the {group} group VISOR lies above '
    f'**{above} of {len(pairs) - cheaper}** settings of other methods, at no '
    f'more {_COSTS[cost]} than theirs, '
    f'level (within two standard errors) with {level}'
  )
  if below:
    sentence += f', and below {len(below)}: {"; ".join(below)}'
  if cheaper:
    sentence += f'. {cheaper} cost less than every plan'
  return sentence + '.'


_LEFT_OUT = {
  'too_long': 'do not fit data.prompt',
  'broken': 'are of broken records',
  'repeated': 'are asked before',
}


def left_out(rows: Iterable[average.Row]) -> list[str]:
  """What was not asked of the tests, one sentence for those that share it."""
  families: dict[str, list[str]] = {}
  for row in rows:
    counts = ', '.join(
      f'{row[key]} questions that {reason}'
      for key, reason in _LEFT_OUT.items()
      if row.get(key)
    )
    if counts:
      names = families.setdefault(counts, [])
      names += [row['family']] if row['family'] not in names else []
  return [
    f'Not asked of {", ".join(names)}: {counts}.'
    for counts, names in families.items()
  ]

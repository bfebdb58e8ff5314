"""Tables of results, as aligned markdown: readable in a console as well."""

import dataclasses
import math

from visor_jax.report import average

_UNITS = ((1e12, 'TFLOPs'), (1e9, 'GFLOPs'), (1e6, 'MFLOPs'), (1e3, 'kFLOPs'))
_NONE = '-'


@dataclasses.dataclass(frozen=True)
class Table:
  """Cells as text: the first `words` columns are words, the rest numbers."""

  header: tuple[str, ...]
  lines: tuple[tuple[str, ...], ...]
  notes: tuple[str, ...] = ()
  words: int = 1

  def __str__(self):
    cells = [
      [c.replace('|', '\\|') for c in line]
      for line in (self.header, *self.lines)
    ]
    widths = [max(map(len, column)) for column in zip(*cells)]
    write = lambda line: (
      '| '
      + ' | '.join(
        c.ljust(w) if i < self.words else c.rjust(w)
        for i, (c, w) in enumerate(zip(line, widths))
      )
      + ' |'
    )
    rule = [
      '-' * w if i < self.words else '-' * (w - 1) + ':'
      for i, w in enumerate(widths)
    ]
    text = '\n'.join(map(write, (cells[0], rule, *cells[1:])))
    return '\n'.join((text, *(f'\n{note}' for note in self.notes)))


def summary(rows) -> str:
  """One line per selector or plan: accuracy in %, cost, share of max."""
  return str(summary_table(rows))


def families(rows) -> str:
  """One line per family: accuracy in % of every selector and plan."""
  return str(families_table(rows))


def summary_table(rows) -> Table:
  """`summary` before it becomes text."""
  scores = average.scores(rows)
  by_name = {score.name: score for score in scores}
  widest = max(scores, key=lambda s: sum(s.questions.values()))
  scale, unit = flops_unit(s.all.flops for s in scores)
  lines, odd = [], False
  for score in scores:
    star = '' if average.comparable(score, widest) else '*'
    odd = odd or bool(star)
    largest = by_name.get('max')
    of_max = (_NONE, _NONE)
    if largest and average.comparable(score, largest):
      of_max = (
        percent(score.all.accuracy / largest.all.accuracy)
        if largest.all.accuracy
        else _NONE,
        percent(score.all.flops / largest.all.flops),
      )
    parts = [
      percent(score.means[g].accuracy) if g in score.means else _NONE
      for g in ('coarse', 'fine', 'all')
    ]
    lines.append(
      (
        score.name + star,
        *parts,
        percent(score.all.error),
        number(score.all.flops / scale),
        number(score.all.saved) + 'x',
        *of_max,
      )
    )
  note = (
    '* answered other questions than the rest: not to be compared with them.'
  )
  return Table(
    (
      'plan',
      'coarse %',
      'fine %',
      'all %',
      '± %',
      unit,
      'saved',
      '% of max acc.',
      '% of max cost',
    ),
    tuple(lines),
    (note,) if odd else (),
  )


def families_table(rows) -> Table:
  """`families` before it becomes text."""
  rows = average.latest(rows)
  names = [score.name for score in average.scores(rows)]
  cell = {(row['family'], average.name(row)): row for row in rows}
  routed = [r for r in rows if average.name(r) == 'router']
  scale, unit = flops_unit(r['llm_prefill_flops'] for r in routed or rows)
  lines, unjudged = [], False
  for family, group in average.families(rows).items():
    here = {n: cell.get((family, n)) for n in names}
    judge = any(r and r.get('judged') is False for r in here.values())
    unjudged = unjudged or judge
    line = [
      family + '†' * judge,
      group,
      f'{max(r["n"] for r in here.values() if r):,}',
    ]
    line += [percent(r['accuracy']) if r else _NONE for r in here.values()]
    if routed:
      r = here['router']
      line += [
        number(r['llm_prefill_flops'] / scale) if r else _NONE,
        number(r['flops_saved']) + 'x' if r else _NONE,
      ]
    lines.append(tuple(line))
  header = ['family', 'group', 'questions', *names]
  header += [f'router {unit}', 'router saved'] if routed else []
  note = (
    '† scored by its letters; the official number asks a judge model '
    'where there is none.'
  )
  return Table(tuple(header), tuple(lines), (note,) if unjudged else (), 2)


def verdict(rows) -> str:
  """What the results say in one sentence; **the numbers that matter**."""
  by_name = {score.name: score for score in average.scores(rows)}
  largest, router = by_name.get('max'), by_name.get('router')
  if (
    router
    and largest
    and largest.all.accuracy
    and (average.comparable(router, largest))
  ):
    mine, its = router.all, largest.all
    return (
      f'The router keeps **{percent(mine.accuracy / its.accuracy)} %** of '
      f"the largest plan's accuracy ({percent(mine.accuracy)} against "
      f'{percent(its.accuracy)} %) at **{percent(mine.flops / its.flops)} '
      f'%** of its LLM prefill FLOPs; against the base model it saves '
      f'**{number(mine.saved)}x**.'
    )
  best = router or largest
  if not best:
    return 'Neither the router nor the largest plan was evaluated yet.'
  missing = (
    'no router was evaluated yet'
    if not router
    else 'the largest plan was not evaluated'
    if not largest
    else 'the largest plan answered other questions or none rightly'
  )
  return (
    f'The {"router" if router else "largest plan"} reaches '
    f'**{percent(best.all.accuracy)} %** and saves '
    f'**{number(best.all.saved)}x** in LLM prefill FLOPs against the base '
    f'model; {missing}.'
  )


def rivals(rows) -> str:
  """What the verdict must be held against; empty where there is nothing.

  Does looking at the question beat plans drawn blindly at the same cost? What
  does the base model itself reach, and what with fewer visual tokens?
  """
  scores = average.scores(rows)
  by_name = {score.name: score for score in scores}
  base, router = by_name.get('base'), by_name.get('router')
  said = []
  blind = router and average.blind(
    (s for s in by_name.values() if average.comparable(s, router)),
    router.all.flops,
  )
  if blind:
    gain = router.all.accuracy - blind.accuracy
    error = math.hypot(router.all.error, blind.error)
    said.append(
      f'Fixed plans drawn blindly at the same mean cost would reach '
      f'{percent(blind.accuracy)} %, so choosing per question '
      f'{"gains" if gain >= 0 else "loses"} {percent(abs(gain))} points '
      f'(standard error at most {percent(error)}).'
    )
  if base:
    said.append(
      f'The base model itself reaches {percent(base.all.accuracy)} %.'
    )
  said += [
    _against(scores, group)
    for group in average.GROUPS
    if average.against(scores, group)
  ]
  return ' '.join(said)


def _against(scores, group: str) -> str:
  """How the best plan or router at no more FLOPs does against each rival."""
  met, above, level, below, cheaper = 0, 0, 0, [], 0
  for rival, best in average.against(scores, group):
    if best is None:
      cheaper += 1
      continue
    met += 1
    mine, its = best.means[group], rival.means[group]
    gap = mine.accuracy - its.accuracy
    if abs(gap) <= 2 * math.hypot(mine.error, its.error):
      level += 1
    elif gap > 0:
      above += 1
    else:
      below.append(
        f'{rival.name} ({percent(its.accuracy)} against '
        f'{percent(mine.accuracy)} % of {best.name}, at '
        f'{number(its.flops / mine.flops)} times its FLOPs)'
      )
  said = (
    f'On the {group} group VISOR lies above **{above} of {met}** '
    'settings of other methods, at no more FLOPs than theirs, '
    f'level (within two standard errors) with {level}'
  )
  said += f', and below {len(below)}: {"; ".join(below)}' if below else ''
  said += (f'. {cheaper} cost less than every plan' if cheaper else '') + '.'
  return said


def percent(share: float) -> str:
  """A share as percent, without the sign: 0.987 is '98.7'."""
  return f'{100 * share:.1f}'


def number(value: float) -> str:
  """About three digits, never an exponent."""
  digits = 2 if value < 10 else 1 if value < 100 else 0
  return f'{value:,.{digits}f}'


def flops_unit(values) -> tuple[float, str]:
  """The unit in which the middle of these FLOPs is a number of 1 to 999."""
  values = list(values)
  middle = math.sqrt(min(values) * max(values))
  for scale, unit in _UNITS:
    if middle >= scale:
      return scale, unit
  return 1.0, 'FLOPs'

"""Tables of results, as aligned markdown: readable in a console as well."""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import math

from visor_jax.report import average

# fmt: off
_UNITS = ((1e12, 'TFLOPs'), (1e9, 'GFLOPs'), (1e6, 'MFLOPs'), (1e3, 'kFLOPs'))
# fmt: on
NONE = '-'


@dataclasses.dataclass(frozen=True)
class Table:
  """Cells as text; as a string, aligned markdown.

  Attributes:
    header: names of the columns.
    lines: cells of each line.
    notes: sentences below.
    words: so many columns, the first, are words, the rest numbers.
  """

  header: tuple[str, ...]
  lines: tuple[tuple[str, ...], ...]
  notes: tuple[str, ...] = ()
  words: int = 1

  def __str__(self) -> str:
    escaped = [
      [cell.replace('|', '\\|') for cell in line]
      for line in (self.header, *self.lines)
    ]
    widths = [max(map(len, column)) for column in zip(*escaped)]
    rule = [
      '-' * width if i < self.words else '-' * (width - 1) + ':'
      for i, width in enumerate(widths)
    ]
    header, *lines = escaped
    text = '\n'.join(self._line(c, widths) for c in (header, rule, *lines))
    return '\n'.join((text, *(f'\n{note}' for note in self.notes)))

  def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = (
      cell.ljust(width) if i < self.words else cell.rjust(width)
      for i, (cell, width) in enumerate(zip(cells, widths))
    )
    return f'| {" | ".join(aligned)} |'


def summary(rows: Iterable[average.Row]) -> str:
  """One line per selector or plan: accuracy in %, cost, share of max."""
  return str(summary_table(rows))


def families(rows: Iterable[average.Row]) -> str:
  """One line per family: accuracy in % of every selector and plan."""
  return str(families_table(rows))


def summary_table(rows: Iterable[average.Row]) -> Table:
  """`summary` before it becomes text."""
  summaries = average.summaries(rows)
  largest = next((s for s in summaries if s.name == 'max'), None)
  widest = max(summaries, key=lambda s: sum(s.questions.values()))
  columns = _costs(summaries)
  lines = []
  all_comparable = True
  for row, s in enumerate(summaries):
    comparable = average.comparable(s, widest)
    all_comparable = all_comparable and comparable
    accuracies = [
      percent(s.means[group].accuracy) if group in s.means else NONE
      for group in (*average.GROUPS, 'all')
    ]
    lines.append(
      (
        s.name if comparable else f'{s.name}*',
        *accuracies,
        percent(s.all.error),
        *(cells[row] for cells in columns.values()),
        *_shares_of_max(s, largest),
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
      *columns,
      '% of max acc.',
      '% of max cost',
    ),
    tuple(lines),
    () if all_comparable else (note,),
  )


def _costs(summaries: Sequence[average.Summary]) -> dict[str, list[str]]:
  """{header: cells}: end to end, where rows say it, then of the LLM alone."""
  means, columns = [s.all for s in summaries], {}
  for of, pairs in (
    ('', [(mean.total_flops, mean.total_saved) for mean in means]),
    ('LLM ', [(mean.flops, mean.saved) for mean in means]),
  ):
    if not all(flops for flops, _ in pairs):
      continue
    scale, unit = flops_unit(flops for flops, _ in pairs)
    columns[of + unit] = [number(flops / scale) for flops, _ in pairs]
    columns[f'{of}saved'] = [number(saved) + 'x' for _, saved in pairs]
  return columns


def _shares_of_max(
  s: average.Summary, largest: average.Summary | None
) -> tuple[str, str]:
  """Accuracy and cost in % of plan max."""
  if not largest or not average.comparable(s, largest):
    return NONE, NONE
  cost = percent(s.all.flops / largest.all.flops)
  if not largest.all.accuracy:
    return NONE, cost
  return percent(s.all.accuracy / largest.all.accuracy), cost


def families_table(rows: Iterable[average.Row]) -> Table:
  """`families` before it becomes text."""
  rows = average.latest(rows)
  names = [s.name for s in average.summaries(rows)]
  row_of = {(row['family'], average.name(row)): row for row in rows}
  routed = [row for row in rows if average.name(row) == 'router']
  scale, unit = flops_unit(row['llm_prefill_flops'] for row in routed or rows)
  lines = []
  all_judged = True
  for family, group in average.families(rows).items():
    results = {name: row_of.get((family, name)) for name in names}
    present = [row for row in results.values() if row]
    judged = not any(row.get('judged') is False for row in present)
    all_judged = all_judged and judged
    line = [
      family if judged else f'{family}†',
      group,
      f'{max(row["n"] for row in present):,}',
      *(percent(row['accuracy']) if row else NONE for row in results.values()),
    ]
    if routed:
      line += _routing(results['router'], scale)
    lines.append(tuple(line))
  header = ['family', 'group', 'questions', *names]
  if routed:
    header += [f'router {unit}', 'router saved']
  note = (
    '† scored by its letters; the official number asks a judge model '
    'where there is none.'
  )
  return Table(
    tuple(header), tuple(lines), () if all_judged else (note,), words=2
  )


def _routing(row: average.Row | None, scale: float) -> list[str]:
  """What the router needs for a family, and saves."""
  if not row:
    return [NONE, NONE]
  return [
    number(row['llm_prefill_flops'] / scale),
    number(row['flops_saved']) + 'x',
  ]


def percent(share: float) -> str:
  """A share as percent, without the sign: 0.987 is '98.7'."""
  return f'{100 * share:.1f}'


def number(value: float) -> str:
  """About three digits, never an exponent."""
  digits = 2 if value < 10 else 1 if value < 100 else 0
  return f'{value:,.{digits}f}'


def flops_unit(flops: Iterable[float]) -> tuple[float, str]:
  """(FLOPs, name) of the unit in which the middle of these is 1 to 999."""
  values = list(flops)
  middle = math.sqrt(min(values) * max(values))
  for scale, unit in _UNITS:
    if middle >= scale:
      return scale, unit
  return 1.0, 'FLOPs'

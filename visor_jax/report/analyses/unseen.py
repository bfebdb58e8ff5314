"""A router on families that it did not learn from."""

from matplotlib import axes

from visor_jax.report import canvas
from visor_jax.report import colours
from visor_jax.report import tables
from visor_jax.report.analyses import section as section_lib


def section(
  numbers: section_lib.Numbers, palette: colours.Palette
) -> section_lib.Section:
  """Of numbers {without, families: [{family, left_out, n, ROUTER: means}]}."""
  del palette
  return section_lib.Section(
    'A router on families it has not seen',
    [
      routers(numbers, 'accuracy', 'accuracy, %'),
      routers(numbers, 'flops', 'LLM prefill, % of max'),
    ],
    f'Families marked * ({", ".join(numbers["without"])}) were left out when '
    'a second router learned: filled dots are the ordinary router, rings the '
    f'second, bars plan max. {_left_out(numbers)}',
  )


def _left_out(numbers: section_lib.Numbers) -> str:
  """What the routers reach on the families that were left out."""
  rows = [row for row in numbers['families'] if row['left_out']]
  if not rows:
    return 'None of them is among the test questions.'
  questions = sum(row['n'] for row in rows)

  def mean(router: str) -> str:
    right = sum(row['n'] * row[router]['accuracy'] for row in rows)
    return tables.percent(right / questions)

  return (
    f'On them the ordinary one reaches {mean("ordinary")} %, the second '
    f'{mean("without")} %, max {mean("max")} %.'
  )


def routers(numbers: section_lib.Numbers, key: str, label: str) -> str:
  """An <svg>: both routers and plan max by family.

  Args:
    numbers: those of the analysis.
    key: 'accuracy', or 'flops', which are shown against those of max.
    label: of the axis.
  """
  rows = sorted(
    numbers['families'], key=lambda row: (row['group'], row['family'])
  )

  def value(row: section_lib.Numbers, router: str) -> float:
    full = row['max'][key] if key == 'flops' else 1
    return 100 * row[router][key] / full

  def draw(ax: axes.Axes) -> None:
    for y, row in enumerate(rows):
      ordinary, without = value(row, 'ordinary'), value(row, 'without')
      ax.plot([ordinary, without], [y, y], color=colours.SOFT, linewidth=1)
      ax.plot(value(row, 'max'), y, '|', color=colours.INK, markersize=12)
      ax.plot(ordinary, y, 'o', color=colours.ROUTER, markersize=6)
      ax.plot(
        without,
        y,
        'o',
        color=colours.ROUTER,
        markersize=9,
        markerfacecolor='none',
      )
    names = [row['family'] + ' *' * row['left_out'] for row in rows]
    ax.set_yticks(range(len(rows)), names)
    ax.set(xlabel=label, ylim=(len(rows) - 0.5, -0.5))
    ax.set_xlim(-3, max(105, ax.get_xlim()[1]))  # routing comes on top of max

  return canvas.svg(
    f'routers by family, {key}', 4.5, 0.7 + 0.28 * len(rows), draw
  )

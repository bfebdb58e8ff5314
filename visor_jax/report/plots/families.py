"""Family by family: what each loses, and what the router chose for it."""

from collections.abc import Mapping
from collections.abc import Sequence

from matplotlib import axes

from visor_jax.report import average
from visor_jax.report import canvas
from visor_jax.report import colours
from visor_jax.report import marks


def heat(
  rows: Sequence[average.Row],
  summaries: Sequence[average.Summary],
  palette: colours.Palette,
) -> str:
  """An <svg>: accuracy of every plan on every family, tinted by its loss."""
  names = [summary.name for summary in summaries]
  accuracy = {
    (row['family'], average.name(row)): 100 * row['accuracy'] for row in rows
  }
  intervals = {
    (row['family'], average.name(row)): average.interval(row) for row in rows
  }
  families = average.families(rows)
  best = {
    family: max(v for (f, _), v in accuracy.items() if f == family)
    for family in families
  }
  # Losses below a tenth of the scale are mostly noise and stay pale.
  largest_loss = max(10.0, *(best[f] - v for (f, _), v in accuracy.items()))
  slanted = max(map(len, names)) > 6

  def draw(ax: axes.Axes) -> None:
    y_of = _family_axis(ax, families)
    for (family, name), value in accuracy.items():
      loss = (best[family] - value) / largest_loss
      marks.loss_cell(
        ax,
        names.index(name),
        y_of[family],
        f'{value:.1f}',
        0.75 * loss,
        8.5,
        f'{name} on {family}: {intervals[family, name]}',
      )
    for x, name in enumerate(names):
      colour = colours.of_selection(palette, name)
      ax.plot(x, 0.1, 's', color=colour, markersize=6)
    ax.set(xlim=(-0.5, len(names) - 0.5))
    ax.set_xticks(
      range(len(names)),
      names,
      rotation=50 if slanted else 0,
      ha='left' if slanted else 'center',
      rotation_mode='anchor',
    )
    ax.xaxis.tick_top()
    marks.bare(ax)

  width = 1.5 + 0.46 * len(names)
  return canvas.svg(
    'accuracy by family and plan',
    max(width, 3.5),
    _height(families) + (0.5 if slanted else 0),
    draw,
  )


def choices(rows: Sequence[average.Row], palette: colours.Palette) -> str:
  """An <svg>: the share of each family's questions that got each plan."""
  chosen = {
    row['family']: row['chosen']
    for row in rows
    if row.get('chosen') and average.name(row) == 'router'
  }
  families = {
    family: group
    for family, group in average.families(rows).items()
    if family in chosen
  }

  def draw(ax: axes.Axes) -> None:
    y_of = _family_axis(ax, families)
    for family, counts in chosen.items():
      _draw_shares(ax, y_of[family], counts, palette)
    ax.set(xlim=(0, 100), xlabel='share of questions, %')
    marks.bare(ax)

  return canvas.svg(
    'plans chosen by the router', 4.5, _height(families) + 0.3, draw
  )


def _draw_shares(
  ax: axes.Axes, y: float, counts: Mapping[str, int], palette: colours.Palette
) -> None:
  """A bar split into plans, cheap to costly."""
  left, total = 0.0, sum(counts.values())
  for plan in sorted(counts, key=average.plan_order):
    share = 100 * counts[plan] / total
    (bar,) = ax.barh(
      y,
      share,
      0.8,
      left,
      color=palette[plan],
      edgecolor=colours.PAPER,
      linewidth=1,
    )
    canvas.hover(bar, f'{plan}: {counts[plan]:,} of {total:,} questions')
    if share > 2 * len(plan) + 1:  # else the name would not fit
      ax.text(
        left + share / 2,
        y,
        plan,
        ha='center',
        va='center',
        color=colours.text_on(palette[plan]),
        fontsize=8,
      )
    left += share


def _family_axis(
  ax: axes.Axes, families: Mapping[str, str]
) -> dict[str, float]:
  """Families as rows under the name of their group; {family: y}."""
  y_of: dict[str, float] = {}
  y, last_group = 0.0, None
  for family, group in families.items():
    if group != last_group:
      last_group, y = group, y + 1.0
      ax.annotate(
        group,
        (0, y - 0.9),
        xycoords=('axes fraction', 'data'),
        xytext=(-6, 0),
        textcoords='offset points',
        ha='right',
        va='center',
        weight='bold',
        annotation_clip=False,
      )
    y_of[family], y = y, y + 1.0
  ax.set_yticks(list(y_of.values()), [_short(family) for family in y_of])
  ax.set_ylim(y - 0.4, -0.3)
  return y_of


def _height(families: Mapping[str, str]) -> float:
  """Inches for the rows of `_family_axis`."""
  return 0.5 + 0.29 * (len(families) + len(set(families.values())))


def _short(family: str) -> str:
  return family if len(family) <= 22 else family[:21] + '…'

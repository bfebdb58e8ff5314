"""Accuracy against cost: plans, routers, base, and rivals with fewer tokens."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

from matplotlib import axes

from visor_jax.report import average
from visor_jax.report import canvas
from visor_jax.report import colours
from visor_jax.report import compare
from visor_jax.report import marks
from visor_jax.report import tables

XOf = Callable[[average.Mean], float]  # where a mean stands on the x-axis

# What accuracy is held against, fields of average.Mean, in words.
COSTS = {
  'total_flops': 'end to end',
  'flops': 'LLM prefill',
  'first_token_s': 'first tokens of a batch',
}


def cost(
  summaries: Sequence[average.Summary],
  group: str,
  palette: colours.Palette,
  of: str = 'flops',
) -> str:
  """An <svg>: accuracy against a cost in one group of families.

  The y-axis covers all groups, so that the plots of two groups compare.

  Args:
    summaries: what is drawn, where it says that cost.
    group: of families.
    palette: of the page.
    of: one of COSTS.
  """
  summaries = [s for s in summaries if getattr(s.all, of)]
  means = [mean for s in summaries for mean in s.means.values()]
  scale, unit = 1e-3, 'ms'
  if of != 'first_token_s':
    scale, unit = tables.flops_unit(getattr(mean, of) for mean in means)
    unit += ' per question'

  def x_of(mean: average.Mean) -> float:
    return getattr(mean, of) / scale

  evaluated = [s for s in summaries if group in s.means]
  without_method = [s for s in evaluated if not s.method]
  sweeps = _sweeps(evaluated)
  front = compare.front([s for s in evaluated if s.is_fixed], group, of)

  def draw(ax: axes.Axes) -> None:
    ax.plot(
      *_points(front, group, x_of), color=colours.SOFT, linewidth=1, zorder=2
    )
    routers = [s for s in without_method if s.name.startswith('router')]
    x, y = _points(routers, group, x_of)
    # A line to the right: by cost, and by accuracy where that is the same.
    points = sorted(zip(x, y))
    ax.plot(*zip(*points), color=colours.ROUTER, linewidth=1, zorder=2)
    for label, sweep in sweeps.items():
      _draw_sweep(ax, label, sweep, group, x_of, palette)
    for summary in without_method:
      _draw_summary(ax, summary, group, x_of, palette)
      if summary in front or summary.name in ('base', 'router'):
        _label(ax, summary, group, x_of)
    low = 100 * min(mean.low for mean in means)
    high = 100 * max(mean.high for mean in means)
    ax.set(
      title=f'{group} families',
      ylabel='accuracy, %',
      xlabel=f'{COSTS[of]}, {unit} (log)',
      ylim=(low - 0.12 * (high - low) - 1, high + 0.08 * (high - low) + 1),
    )
    marks.log_x(ax, map(x_of, means))
    if sweeps:
      ax.figure.legend(
        loc='outside lower center', ncols=3, frameon=False, fontsize=7.5
      )

  return canvas.svg(
    f'accuracy against cost, {COSTS[of]}, {group}',
    4.5,
    3.4 + 0.06 * len(sweeps),
    draw,
  )


def _sweeps(
  summaries: Sequence[average.Summary],
) -> dict[str, list[average.Summary]]:
  """{label: settings of a method}; on plans and routers one setting each."""
  sweeps: dict[str, list[average.Summary]] = {}
  for summary in summaries:
    if summary.method:
      label = (
        summary.method.partition(':')[0]
        if summary.is_rival
        else f'VISOR + {summary.method}'
      )
      sweeps.setdefault(label, []).append(summary)
  return sweeps


def _points(
  summaries: Sequence[average.Summary], group: str, x_of: XOf
) -> tuple[list[float], list[float]]:
  """Where they stand, and accuracy in %."""
  means = [summary.means[group] for summary in summaries]
  return (
    [x_of(mean) for mean in means],
    [100 * mean.accuracy for mean in means],
  )


def _draw_sweep(
  ax: axes.Axes,
  label: str,
  sweep: Sequence[average.Summary],
  group: str,
  x_of: XOf,
  palette: colours.Palette,
) -> None:
  """A line for the settings of a method."""
  sweep = sorted(sweep, key=lambda summary: x_of(summary.means[group]))
  ax.plot(
    *_points(sweep, group, x_of),
    'D-' if sweep[0].is_rival else 'P:',
    color=palette[sweep[0].name],
    markersize=5,
    linewidth=0.9,
    markeredgecolor=colours.PAPER,
    markeredgewidth=0.6,
    zorder=2,
    label=label,
  )


_MARKERS: Mapping[str, tuple[str, float]] = {
  'base': ('s', 7),
  'router': ('*', 14),
}


def _draw_summary(
  ax: axes.Axes,
  summary: average.Summary,
  group: str,
  x_of: XOf,
  palette: colours.Palette,
) -> None:
  """A mark with a bar from one end of its interval to the other."""
  mean = summary.means[group]
  x, y = x_of(mean), 100 * mean.accuracy
  other = ('o' if summary.is_fixed else '*', 8)
  marker, size = _MARKERS.get(summary.name, other)
  ax.vlines(
    x, 100 * mean.low, 100 * mean.high, colours.SOFT, linewidth=0.8, zorder=1
  )
  (mark,) = ax.plot(
    x,
    y,
    marker,
    markersize=size,
    color=colours.of_selection(palette, summary.name),
    markeredgecolor=colours.PAPER,
    markeredgewidth=0.8,
    zorder=4 if summary.name == 'router' else 3,
  )
  canvas.hover(
    mark,
    f'{summary.name}: {y:.1f} % ({100 * mean.low:.1f} to '
    f'{100 * mean.high:.1f}), saves {mean.saved:.2f}x of LLM prefill',
  )


def _label(
  ax: axes.Axes, summary: average.Summary, group: str, x_of: XOf
) -> None:
  """The name beside its mark."""
  mean = summary.means[group]
  above = summary.name == 'router'  # it aims for the space above the front
  ax.annotate(
    summary.name,
    (x_of(mean), 100 * mean.accuracy),
    (-7, 7) if above else (6, -11),
    textcoords='offset points',
    ha='right' if above else 'left',
    fontsize=8.5,
  )

"""The plots of a report. Each returns an <svg> element for the page.

`colours` is `canvas.palette`: every plot paints a plan in the same colour.
"""

import math

from matplotlib import patches
from matplotlib import ticker
import numpy as np

from visor_jax.report import average
from visor_jax.report import canvas
from visor_jax.report import tables
from visor_jax.spec import plan as plans


def cost(scores, group: str, colours) -> str:
  """Accuracy against LLM prefill FLOPs in one group of families.

  The y-axis covers all groups, so that the plots of two groups compare.
  """
  means = [m for s in scores for m in s.means.values()]
  scale, unit = tables.flops_unit(m.flops for m in means)
  here = [s for s in scores if group in s.means]
  sweeps = _sweeps(here)

  def draw(ax):
    best = average.front([s for s in here if s.fixed], group)
    ax.plot(
      [s.means[group].flops / scale for s in best],
      [100 * s.means[group].accuracy for s in best],
      color=canvas.SOFT,
      linewidth=1,
      zorder=2,
    )
    plain = [s for s in here if not s.method]
    routers = sorted(
      (s.means[group].flops / scale, 100 * s.means[group].accuracy)
      for s in plain
      if s.name.startswith('router')
    )
    ax.plot(*zip(*routers), color=canvas.ROUTER, linewidth=1, zorder=2)
    _reduced(ax, sweeps, group, scale, colours)
    for score in plain:
      mean = score.means[group]
      x, y = mean.flops / scale, 100 * mean.accuracy
      marker, size = {'base': ('s', 7), 'router': ('*', 14)}.get(
        score.name, ('o' if score.fixed else '*', 8)
      )
      ax.errorbar(
        x, y, 100 * mean.error, color=canvas.SOFT, linewidth=0.8, zorder=1
      )
      ax.plot(
        x,
        y,
        marker,
        markersize=size,
        color=canvas.colour(colours, score.name),
        markeredgecolor=canvas.PAPER,
        markeredgewidth=0.8,
        zorder=4 if score.name == 'router' else 3,
      )
      if score in best or score.name in ('base', 'router'):
        above = score.name == 'router'  # it aims for the space above the front
        ax.annotate(
          score.name,
          (x, y),
          (-7, 7) if above else (6, -11),
          textcoords='offset points',
          ha='right' if above else 'left',
          fontsize=8.5,
        )
    low = min(100 * (m.accuracy - m.error) for m in means)
    high = max(100 * (m.accuracy + m.error) for m in means)
    ax.set(
      title=f'{group} families',
      ylabel='accuracy, %',
      xlabel=f'LLM prefill, {unit} per question (log)',
      ylim=(low - 0.12 * (high - low) - 1, high + 0.08 * (high - low) + 1),
    )
    _log_x(ax, [m.flops / scale for m in means])
    if sweeps:
      ax.figure.legend(
        loc='outside lower center', ncols=3, frameon=False, fontsize=7.5
      )

  return canvas.svg(
    f'accuracy against cost, {group}', 4.5, 3.4 + 0.06 * len(sweeps), draw
  )


def _sweeps(scores):
  """{label: scores with fewer visual tokens}, the settings of a method."""
  sweeps = {}
  for score in (s for s in scores if s.method):
    who = score.method.partition(':')[0]
    # On a plan or the router one setting is compared over plans.
    sweeps.setdefault(
      who if score.rival else f'VISOR + {score.method}', []
    ).append(score)
  return sweeps


def _reduced(ax, sweeps, group, scale, colours):
  """A line for each of `_sweeps`."""
  for who, some in sweeps.items():
    some = sorted(some, key=lambda s: s.means[group].flops)
    x = [s.means[group].flops / scale for s in some]
    y = [100 * s.means[group].accuracy for s in some]
    ax.plot(
      x,
      y,
      'D-' if some[0].rival else 'P:',
      color=colours[some[0].name],
      markersize=5,
      linewidth=0.9,
      markeredgecolor=canvas.PAPER,
      markeredgewidth=0.6,
      zorder=2,
      label=who,
    )


def heat(rows, scores, colours) -> str:
  """Accuracy of every plan on every family, tinted by what it loses."""
  names = [score.name for score in scores]
  cell = {(r['family'], average.name(r)): 100 * r['accuracy'] for r in rows}
  families = average.families(rows)
  best = {f: max(v for (g, _), v in cell.items() if g == f) for f in families}
  # Losses below a tenth of the scale are mostly noise and stay pale.
  full = max(10.0, *(best[f] - v for (f, _), v in cell.items()))
  slanted = max(map(len, names)) > 6

  def draw(ax):
    at = _family_axis(ax, families)
    for (family, name), value in cell.items():
      x, y, loss = names.index(name), at[family], (best[family] - value) / full
      ax.add_patch(
        patches.Rectangle(
          (x - 0.47, y - 0.45),
          0.94,
          0.9,
          color=canvas.LOSS,
          alpha=0.75 * loss,
          linewidth=0,
        )
      )
      ax.text(x, y, f'{value:.1f}', ha='center', va='center', fontsize=8.5)
    for x, name in enumerate(names):
      ax.plot(x, 0.1, 's', color=canvas.colour(colours, name), markersize=6)
    ax.set(xlim=(-0.5, len(names) - 0.5))
    ax.set_xticks(
      range(len(names)),
      names,
      rotation=50 if slanted else 0,
      ha='left' if slanted else 'center',
      rotation_mode='anchor',
    )
    ax.xaxis.tick_top()
    _bare(ax)

  width = 1.5 + 0.46 * len(names)
  return canvas.svg(
    'accuracy by family and plan',
    max(width, 3.5),
    _height(families) + (0.5 if slanted else 0),
    draw,
  )


def choices(rows, colours) -> str:
  """Which share of each family's questions the router gave to which plan."""
  chosen = {
    r['family']: r['chosen']
    for r in rows
    if r.get('chosen') and average.name(r) == 'router'
  }
  families = {f: g for f, g in average.families(rows).items() if f in chosen}

  def draw(ax):
    at = _family_axis(ax, families)
    for family, counts in chosen.items():
      left, total = 0.0, sum(counts.values())
      for plan in sorted(counts, key=average.order):
        share = 100 * counts[plan] / total
        ax.barh(
          at[family],
          share,
          0.8,
          left,
          color=colours[plan],
          edgecolor=canvas.PAPER,
          linewidth=1,
        )
        if share > 2 * len(plan) + 1:  # else the name would not fit
          ax.text(
            left + share / 2,
            at[family],
            plan,
            ha='center',
            va='center',
            color=canvas.on(colours[plan]),
            fontsize=8,
          )
        left += share
    ax.set(xlim=(0, 100), xlabel='share of questions, %')
    _bare(ax)

  return canvas.svg(
    'plans chosen by the router', 4.5, _height(families) + 0.3, draw
  )


def loss(stage: str, metrics) -> str:
  """The loss of one stage: the mean over short stretches, and its range."""
  # A resumed run writes some steps again: the later line is the true one.
  values = {r['step']: r['loss'] for r in metrics}
  steps = np.array(sorted(values))
  raw = np.array([values[step] for step in steps], float)
  # Chunks keep the page small, however long the log is.
  cut = lambda v: np.array_split(v, min(len(v), 80))
  mean = [chunk.mean() for chunk in cut(raw)]
  x = [chunk.mean() for chunk in cut(steps)]

  def draw(ax):
    ax.fill_between(
      x,
      [c.min() for c in cut(raw)],
      [c.max() for c in cut(raw)],
      color=canvas.SOFT,
      alpha=0.3,
      linewidth=0,
    )
    ax.plot(x, mean, color=canvas.INK)
    ax.set(xlabel='step')
    ax.set_title(f'{stage}: {mean[-1]:.3g} at step {steps[-1]:,}')
    ax.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))

  return canvas.svg(f'loss of the {stage} stage', 3.3, 2.2, draw)


def calibration(record) -> str:
  """Accuracy and cost of the router for every confidence tried."""
  curve = sorted(record['curve'], key=lambda point: point['confidence'])
  scale, unit = tables.flops_unit(point['flops'] for point in curve)
  x = [point['confidence'] for point in curve]

  def draw(axes):
    for ax, y, label in (
      (axes[0], [100 * p['accuracy'] for p in curve], 'accuracy, %'),
      (axes[1], [p['flops'] / scale for p in curve], unit),
    ):
      ax.plot(x, y, 'o-', color=canvas.ROUTER, markersize=4)
      ax.axvline(
        record['confidence'], color=canvas.INK, linewidth=1, linestyle='--'
      )
      ax.set(ylabel=label)
    axes[0].set_title(f'confidence {record["confidence"]:g} was chosen')
    axes[1].set(xlabel='policy.confidence')

  return canvas.svg('calibration of the router', 4.5, 3.4, draw, rows=2)


def promises(rows) -> str:
  """Delivered against promised, with the tenth that is still a promise kept."""

  def draw(ax):
    ends = [min(min(r['promised'], r['delivered']) for r in rows) - 0.05, 1.05]
    ax.plot(ends, ends, color=canvas.SOFT, linewidth=1)
    ax.fill_between(
      ends,
      [0.9 * x for x in ends],
      [1.1 * x for x in ends],
      color=canvas.SOFT,
      alpha=0.2,
      linewidth=0,
    )
    for row in rows:
      marker, size = ('*', 10) if 'budget' in row else ('o', 6)
      ax.plot(
        row['promised'],
        row['delivered'],
        marker,
        color=canvas.ROUTER,
        markersize=size,
      )
    ax.set(xlabel='promised, share of max', ylabel='delivered')

  return canvas.svg('promised and delivered', 4.5, 3.4, draw)


def search(record, colours) -> str:
  """All plans that the search evaluated; the viable ones in their colour."""
  found = [(plans.name(e['plan']), e) for e in record['evaluated']]
  viable = {plans.name(plan) for plan in record['viable']}
  scale, unit = tables.flops_unit(e['flops'] for _, e in found)

  def draw(ax):
    for name, e in found:
      kept = name in viable
      ax.plot(
        e['flops'] / scale,
        100 * e['accuracy'],
        'o',
        color=colours[name] if kept else canvas.SOFT,
        alpha=1 if kept else 0.4,
        markersize=8 if kept else 5,
        markeredgecolor=canvas.PAPER,
        zorder=3 if kept else 2,
      )
    ax.set(
      title=f'{len(viable)} of {len(found)} plans are viable',
      ylabel='accuracy, %',
      xlabel=f'LLM prefill, {unit} (log)',
    )
    _log_x(ax, [e['flops'] / scale for _, e in found])

  return canvas.svg('search for viable plans', 4.5, 3.4, draw)


def _family_axis(ax, families) -> dict[str, float]:
  """Families as rows under the name of their group; returns their y."""
  at, y, group = {}, 0.0, None
  for family, its_group in families.items():
    if its_group != group:
      group, y = its_group, y + 1.0
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
    at[family], y = y, y + 1.0
  ax.set_yticks(list(at.values()), [_short(family) for family in at])
  ax.set_ylim(y - 0.4, -0.3)
  return at


def _height(families) -> float:
  """Inches for the rows of `_family_axis`."""
  return 0.5 + 0.29 * (len(families) + len(set(families.values())))


def _bare(ax):
  ax.grid(False)
  ax.spines[:].set_visible(False)
  ax.tick_params(length=0)


def _short(family: str) -> str:
  return family if len(family) <= 22 else family[:21] + '…'


def _log_x(ax, values):
  """A logarithmic axis with plain numbers, also within one decade."""
  low, high = min(values), max(values)
  decades = math.log10(high / low)
  marks = (1, 2, 5) if decades > 0.8 else (1, 1.5, 2, 3, 4, 5, 6, 8)
  ax.set_xscale('log')
  ax.set_xlim(low / 1.25, high * 1.5)  # room for the label of the last point
  ax.xaxis.set_major_locator(ticker.LogLocator(10, marks))
  ax.xaxis.set_major_formatter(lambda value, _: f'{value:,.6g}')
  ax.xaxis.set_minor_locator(ticker.NullLocator())

"""How plans come to be chosen: search, calibration, and budgets delivered."""

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from matplotlib import axes

from visor_jax.report import average
from visor_jax.report import canvas
from visor_jax.report import colours
from visor_jax.report import marks
from visor_jax.report import tables
from visor_jax.spec import plan as plans


def search(record: Mapping[str, Any], palette: colours.Palette) -> str:
  """An <svg>: all plans that the search evaluated, the viable ones coloured.

  Bars are standard errors.

  Args:
    record: `evaluated`, [{plan, flops, accuracy, error, questions}], and
      `viable`, plans; of older searches without errors and questions.
    palette: colours of the viable ones.
  """
  evaluated = [(plans.name(e['plan']), e) for e in record['evaluated']]
  viable = {plans.name(plan) for plan in record['viable']}
  scale, unit = tables.flops_unit(e['flops'] for _, e in evaluated)

  def draw(ax: axes.Axes) -> None:
    for name, e in evaluated:
      is_viable = name in viable
      (mark,) = ax.plot(
        e['flops'] / scale,
        100 * e['accuracy'],
        'o',
        color=palette[name] if is_viable else colours.SOFT,
        alpha=1 if is_viable else 0.4,
        markersize=8 if is_viable else 5,
        markeredgecolor=colours.PAPER,
        zorder=3 if is_viable else 2,
      )
      ax.errorbar(
        e['flops'] / scale,
        100 * e['accuracy'],
        100 * e.get('error', 0.0),
        color=mark.get_color(),
        alpha=mark.get_alpha(),
        zorder=1,
      )
      text = f'{name}: {100 * e["accuracy"]:.1f} %'
      if 'error' in e:
        text += f' ± {100 * e["error"]:.1f}, {e["questions"]} questions'
      canvas.hover(mark, text)
    ax.set(
      title=f'{len(viable)} of {len(evaluated)} plans are viable',
      ylabel='accuracy, %',
      xlabel=f'LLM prefill, {unit} (log)',
    )
    marks.log_x(ax, (e['flops'] / scale for _, e in evaluated))

  return canvas.svg('search for viable plans', 4.5, 3.4, draw)


def calibration(record: Mapping[str, Any]) -> str:
  """An <svg>: accuracy and cost of the router for every confidence tried.

  Args:
    record: `curve`, [{confidence, accuracy, flops}], and the `confidence` in
      use.
  """
  curve = sorted(record['curve'], key=lambda point: point['confidence'])
  scale, unit = tables.flops_unit(point['flops'] for point in curve)
  confidences = [point['confidence'] for point in curve]

  def draw_curve(ax: axes.Axes, values: Sequence[float], label: str) -> None:
    ax.plot(confidences, values, 'o-', color=colours.ROUTER, markersize=4)
    ax.axvline(
      record['confidence'], color=colours.INK, linewidth=1, linestyle='--'
    )
    ax.set(ylabel=label)

  def draw_accuracy(ax: axes.Axes) -> None:
    accuracies = [100 * point['accuracy'] for point in curve]
    draw_curve(ax, accuracies, 'accuracy, %')
    ax.set_title(f'confidence {record["confidence"]:g} was chosen')

  def draw_cost(ax: axes.Axes) -> None:
    draw_curve(ax, [point['flops'] / scale for point in curve], unit)
    ax.set(xlabel='policy.confidence')

  return canvas.svg(
    'calibration of the router', 4.5, 3.4, draw_accuracy, draw_cost
  )


def promises(rows: Sequence[average.Row]) -> str:
  """An <svg>: delivered against promised, and the tenth that is still fair."""
  low = min(min(row['promised'], row['delivered']) for row in rows)
  ends = [low - 0.05, 1.05]

  def draw(ax: axes.Axes) -> None:
    ax.plot(ends, ends, color=colours.SOFT, linewidth=1)
    ax.fill_between(
      ends,
      [0.9 * x for x in ends],
      [1.1 * x for x in ends],
      color=colours.SOFT,
      alpha=0.2,
      linewidth=0,
    )
    for row in rows:
      marker, size = ('*', 10) if 'budget' in row else ('o', 6)
      (mark,) = ax.plot(
        row['promised'],
        row['delivered'],
        marker,
        color=colours.ROUTER,
        markersize=size,
      )
      text = f'{row["promised"]:.3g} promised, {row["delivered"]:.3g} delivered'
      canvas.hover(mark, text)
    ax.set(xlabel='promised, share of max', ylabel='delivered')

  return canvas.svg('promised and delivered', 4.5, 3.4, draw)

"""What several drawings have in common: cells, matrices, kinds of axes."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import math

from matplotlib import axes
from matplotlib import axis as axis_lib
from matplotlib import patches
from matplotlib import ticker

from visor_jax.report import canvas
from visor_jax.report import colours


def bare(ax: axes.Axes) -> None:
  """Without grid, frame and ticks."""
  ax.grid(False)
  ax.spines[:].set_visible(False)
  ax.tick_params(length=0)


def plain_numbers(axis: axis_lib.Axis) -> None:
  """Labels without exponents, with thousands separated."""
  axis.set_major_formatter(lambda value, _: f'{value:,.6g}')


def log_x(ax: axes.Axes, values: Iterable[float]) -> None:
  """A logarithmic axis with plain numbers, also within one decade."""
  values = list(values)
  low, high = min(values), max(values)
  decades = math.log10(high / low)
  steps = (1, 2, 5) if decades > 0.8 else (1, 1.5, 2, 3, 4, 5, 6, 8)
  ax.set_xscale('log')
  ax.set_xlim(low / 1.25, high * 1.5)  # room for the label of the last point
  ax.xaxis.set_major_locator(ticker.LogLocator(10, steps))
  plain_numbers(ax.xaxis)
  ax.xaxis.set_minor_locator(ticker.NullLocator())


def loss_cell(
  ax: axes.Axes,
  x: float,
  y: float,
  text: str,
  alpha: float,
  fontsize: float,
  hover: str = '',
) -> None:
  """A cell of a table, the deeper tinted the more is lost (alpha, 0 to 1)."""
  cell = ax.add_patch(
    patches.Rectangle(
      (x - 0.47, y - 0.45),
      0.94,
      0.9,
      color=colours.LOSS,
      alpha=alpha,
      linewidth=0,
    )
  )
  label = ax.text(x, y, text, ha='center', va='center', fontsize=fontsize)
  if hover:
    canvas.hover(cell, hover)
    canvas.hover(label, hover)


def matrix(
  ax: axes.Axes,
  values: Sequence[Sequence[float | None]],
  text: Callable[[float], str],
  low: float = 0.0,
) -> None:
  """Numbers from `low` to 1, light where they are high; None stays empty."""
  for y, row in enumerate(values):
    for x, value in enumerate(row):
      if value is None:
        continue
      share = (value - low) / (1 - low)
      colour = colours.ramp(min(1.0, max(0.0, share)))
      ax.add_patch(
        patches.Rectangle((x - 0.5, y - 0.5), 1, 1, color=colour, linewidth=0)
      )
      ax.text(
        x,
        y,
        text(value),
        ha='center',
        va='center',
        fontsize=7.5,
        color=colours.text_on(colour),
      )
  ax.set(xlim=(-0.5, len(values) - 0.5), ylim=(len(values) - 0.5, -0.5))
  bare(ax)

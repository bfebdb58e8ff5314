"""How a stage trained."""

from collections.abc import Sequence

from matplotlib import axes
from matplotlib import ticker
import numpy as np

from visor_jax.report import average
from visor_jax.report import canvas
from visor_jax.report import colours


def loss(stage: str, metrics: Sequence[average.Row]) -> str:
  """An <svg>: the loss of one stage, its mean over short spans and its range.

  Args:
    stage: name of the stage.
    metrics: logged rows with a step and a loss.
  """
  # A resumed run writes some steps again: the later line is the true one.
  loss_at = {row['step']: row['loss'] for row in metrics}
  steps = sorted(loss_at)
  # Spans keep the page small, however long the log is.
  spans = min(len(steps), 80)
  step_spans = np.array_split(np.array(steps), spans)
  loss_spans = np.array_split(
    np.array([loss_at[step] for step in steps], float), spans
  )
  x = [span.mean() for span in step_spans]
  mean = [span.mean() for span in loss_spans]

  def draw(ax: axes.Axes) -> None:
    ax.fill_between(
      x,
      [span.min() for span in loss_spans],
      [span.max() for span in loss_spans],
      color=colours.SOFT,
      alpha=0.3,
      linewidth=0,
    )
    ax.plot(x, mean, color=colours.INK)
    ax.set(xlabel='step')
    ax.set_title(f'{stage}: {mean[-1]:.3g} at step {steps[-1]:,}')
    ax.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))

  return canvas.svg(f'loss of the {stage} stage', 3.3, 2.2, draw)

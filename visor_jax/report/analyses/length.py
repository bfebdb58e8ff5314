"""Cost by the length of the image."""

from matplotlib import axes

from visor_jax.report import canvas
from visor_jax.report import colours
from visor_jax.report import marks
from visor_jax.report import tables
from visor_jax.report.analyses import section as section_lib


def section(
  numbers: section_lib.Numbers, palette: colours.Palette
) -> section_lib.Section:
  """Of numbers {lengths, text, accounting, curves: {name: FLOPs}}."""
  return section_lib.Section(
    'Cost by the length of the image',
    [cost(numbers, palette)],
    f'LLM prefill of a prompt of {numbers["text"]} text tokens, of plans and '
    f'of the base with fewer visual tokens (dashed). '
    f'{numbers["accounting"]}',
  )


def cost(numbers: section_lib.Numbers, palette: colours.Palette) -> str:
  """An <svg>: FLOPs against visual tokens, of every curve."""
  lengths, curves = numbers['lengths'], numbers['curves']
  scale, unit = tables.flops_unit(v for curve in curves.values() for v in curve)

  def draw(ax: axes.Axes) -> None:
    ax.set(
      xscale='log',
      yscale='log',
      xlabel='visual tokens (log)',
      ylabel=f'{unit} (log)',
      xlim=(lengths[0], lengths[-1] * 3),
    )
    for name, flops in curves.items():
      ax.plot(
        lengths,
        [value / scale for value in flops],
        label=name,
        color=palette.get(name) or colours.of_method(name),
        linestyle='--' if ':' in name else '-',
      )
    ax.legend(frameon=False, fontsize=7.5, loc='upper left', ncols=2)
    ax.xaxis.set_major_formatter(lambda value, _: f'{value:,.0f}')
    marks.plain_numbers(ax.yaxis)

  return canvas.svg('cost by visual tokens', 4.5, 3.6, draw)

"""How much visual features change from layer to layer."""

from collections.abc import Sequence

from matplotlib import axes

from visor_jax.report import canvas
from visor_jax.report import colours
from visor_jax.report import marks
from visor_jax.report.analyses import section as section_lib


def section(
  numbers: section_lib.Numbers, palette: colours.Palette
) -> section_lib.Section:
  """Of numbers {plan: {layers, cka: {group: matrix over pairs of layers}}}."""
  del palette
  changing = {
    plan: of_plan
    for plan, of_plan in numbers.items()
    if len(of_plan['layers']) > 1
  }
  drawings = [similarity(plan, of_plan) for plan, of_plan in changing.items()]
  for plan, of_plan in changing.items():
    drawings += [
      between(plan, group, of_plan)
      for group in colours.GROUPS
      if group in of_plan['cka']
    ]
  caption = (
    'CKA (linear, unbiased) between the visual tokens of a question as '
    'layers leave them: 1 where they are the same but for a rotation, 0 '
    'where they have nothing in common. Solid: with what enters the decoder, '
    'dotted: with the layer that changed them before; then all pairs.'
  )
  constant = [plan for plan in numbers if plan not in changing]
  if constant:
    caption += f' Plan {", ".join(constant)} leaves the image as it is.'
  return section_lib.Section(
    'How much visual features change', drawings, caption, colours.GROUPS
  )


def similarity(plan: str, numbers: section_lib.Numbers) -> str:
  """An <svg>: CKA by layer, with the input and with the layer before."""
  names = _layer_names(numbers['layers'])

  def draw(ax: axes.Axes) -> None:
    for group, colour in colours.GROUPS.items():
      cka = numbers['cka'].get(group)
      if cka:
        with_input = [_or_nan(value) for value in cka[0]]
        with_before = [_or_nan(cka[i][i - 1]) for i in range(1, len(cka))]
        ax.plot(range(len(cka)), with_input, 'o-', color=colour, markersize=3)
        ax.plot(range(1, len(cka)), with_before, color=colour, linestyle=':')
    every = 1 + len(names) // 16
    ax.set_xticks(range(0, len(names), every), names[::every])
    ax.set(title=f'plan {plan}', xlabel='layer', ylabel='CKA', ylim=(0, 1.04))

  return canvas.svg(f'CKA of visual features, plan {plan}', 4.5, 3, draw)


def between(plan: str, group: str, numbers: section_lib.Numbers) -> str:
  """An <svg>: CKA of all pairs of layers in a group."""
  names = _layer_names(numbers['layers'])

  def text(value: float) -> str:
    return f'{value:.2f}' if len(names) <= 8 else ''

  def draw(ax: axes.Axes) -> None:
    marks.matrix(ax, numbers['cka'][group], text)
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    ax.set_title(f'{plan}, {group}')

  side = max(2.2, 0.17 * len(names) + 0.9)
  return canvas.svg(
    f'CKA between layers, plan {plan}, {group}', side, side, draw
  )


def _layer_names(layers: Sequence[int | None]) -> list[str]:
  """None is what enters the decoder."""
  return ['in' if layer is None else str(layer) for layer in layers]


def _or_nan(value: float | None) -> float:
  return float('nan') if value is None else value

"""Where text looks: shares of attention, and what is taken from the image."""

from collections.abc import Sequence

from matplotlib import axes

from visor_jax.report import canvas
from visor_jax.report import colours
from visor_jax.report import marks
from visor_jax.report.analyses import section as section_lib

SHARES = {
  'question_to_image': '#0072b2',
  'answer_to_image': '#d55e00',
  'answer_to_question': '#009e73',
}
_DASHES = {'coarse': '--', 'fine': '-'}


def section(
  numbers: section_lib.Numbers, palette: colours.Palette
) -> section_lib.Section:
  """Of numbers {plan: {kinds, shares: {group: {name: values by layer}}}}."""
  drawings = [shares(plan, of_plan) for plan, of_plan in numbers.items()]
  return section_lib.Section(
    'Where text looks',
    [*drawings, taken(numbers, palette)],
    'Share of the attention of text that goes to the image, or from answer '
    'to question, by layer (TEXT, CROSS or SELF): means over heads and over '
    "the tokens that see the image; answers are the plan's own. Solid: fine "
    'families, dashed: coarse. A CROSS layer looks at the image alone and '
    'then at the text, so its shares do not add up; what a token takes from '
    'the image, against its own length, is comparable between all kinds.',
    {name.replace('_', ' '): colour for name, colour in SHARES.items()},
  )


def shares(plan: str, numbers: section_lib.Numbers) -> str:
  """An <svg>: attention shares of one plan by layer."""

  def draw(ax: axes.Axes) -> None:
    for group in colours.GROUPS:
      for name, colour in SHARES.items():
        values = numbers['shares'].get(group, {}).get(name)
        if values:
          ax.plot(
            range(len(values)),
            [_percent(value) for value in values],
            color=colour,
            marker='o',
            markersize=3,
            linestyle=_DASHES[group],
          )
    _layer_axis(ax, numbers['kinds'])
    ax.set(title=f'plan {plan}', ylabel='share of attention, %', ylim=(-4, 104))

  return canvas.svg(f'attention shares, plan {plan}', 4.5, 3, draw)


def taken(numbers: section_lib.Numbers, palette: colours.Palette) -> str:
  """An <svg>: what text takes from the image by layer, of every plan."""
  depth = max(len(of_plan['kinds']) for of_plan in numbers.values())

  def draw(ax: axes.Axes) -> None:
    for plan, of_plan in numbers.items():
      for group in colours.GROUPS:
        values = of_plan['shares'].get(group, {}).get('read')
        if values:
          ax.plot(
            range(len(values)),
            [_percent(value or None) for value in values],
            marker='o',
            markersize=3,
            color=palette.get(plan, colours.SOFT),
            label=plan if group == 'fine' else None,
            linestyle=_DASHES[group],
          )
    _layer_axis(ax, [''] * depth)
    ax.legend(frameon=False, fontsize=8)
    ax.set(
      title='taken from the image',
      yscale='log',
      ylabel="% of the token's length (log)",
    )
    marks.plain_numbers(ax.yaxis)

  return canvas.svg('what text takes from the image', 4.5, 3, draw)


def _layer_axis(ax: axes.Axes, kinds: Sequence[str]) -> None:
  """Layers along x with the first letters of their kinds."""
  step = 1 + (len(kinds) > 28)
  ax.set_xticks(
    range(0, len(kinds), step),
    [f'{i}\n{kinds[i][:1].upper()}' for i in range(0, len(kinds), step)],
    fontsize=8 if len(kinds) < 16 else 6,
  )
  ax.set_xlabel('layer')


def _percent(value: float | None) -> float:
  return float('nan') if value is None else 100 * value

"""Which layers need the image: accuracy without it, family by family."""

from collections.abc import Sequence

from matplotlib import axes

from visor_jax.report import canvas
from visor_jax.report import colours
from visor_jax.report import marks
from visor_jax.report import tables
from visor_jax.report.analyses import section as section_lib


def section(
  numbers: section_lib.Numbers, palette: colours.Palette
) -> section_lib.Section:
  """Of numbers {plan: {dropped, accuracy, groups, correlation, ...}}.

  See analysis/drop.py; `correlation` is None where there are too few families.
  """
  del palette
  drawings = []
  caption = (
    'Accuracy in % when these layers do not see the image, and are TEXT; the '
    'deeper the tint, the more is lost. Then the correlation between the '
    'responses of families and the tree of its clusters, the two largest in '
    'two colours; in brackets the group that the suite gives them.'
  )
  for plan, of_plan in numbers.items():
    drawings.append(without_image(plan, of_plan))
    if of_plan['correlation']:
      drawings.append(correlation(plan, of_plan))
      caption += (
        f" Plan {plan}: the split is the suite's for "
        f'{tables.percent(of_plan["agreement"])} % of families.'
      )
    if of_plan['constant']:
      caption += (
        f' Plan {plan}: nothing changes {", ".join(of_plan["constant"])}, '
        'left out of the correlation.'
      )
  correlated = any(of_plan['correlation'] for of_plan in numbers.values())
  return section_lib.Section(
    'Which layers need the image',
    drawings,
    caption,
    colours.GROUPS if correlated else {},
  )


def without_image(plan: str, numbers: section_lib.Numbers) -> str:
  """An <svg>: accuracy of families by the layers that do not see the image."""
  accuracy, groups = numbers['accuracy'], numbers['groups']
  families = sorted(accuracy, key=lambda family: (groups[family], family))
  spans = ['none', *map(_span, numbers['dropped'][1:])]

  def draw(ax: axes.Axes) -> None:
    for y, family in enumerate(families):
      values = [100 * value for value in accuracy[family]]
      for x, value in enumerate(values):
        loss = max(0, values[0] - value) / 100
        marks.loss_cell(ax, x, y, f'{value:.0f}', 0.85 * loss, 8)
    ax.set_xticks(range(len(spans)), spans, rotation=90 * (len(spans) > 8))
    ax.set_yticks(range(len(families)), families)
    ax.set(
      title=f'plan {plan}',
      xlabel='layers that do not see the image',
      xlim=(-0.5, len(spans) - 0.5),
      ylim=(len(families) - 0.5, -0.5),
    )
    marks.bare(ax)

  return canvas.svg(
    f'accuracy without the image, plan {plan}',
    max(3.5, 1.4 + 0.36 * len(spans)),
    1.2 + 0.27 * len(families),
    draw,
  )


def _span(layers: Sequence[int]) -> str:
  return f'{layers[0]}-{layers[-1]}' if len(layers) > 1 else str(layers[0])


def correlation(plan: str, numbers: section_lib.Numbers) -> str:
  """An <svg>: correlation between families, and the tree of their clusters."""
  families = numbers['families']
  count = len(families)

  def text(value: float) -> str:
    return f'{value:.1f}' if count <= 16 else ''

  def draw(ax: axes.Axes) -> None:
    marks.matrix(ax, numbers['correlation'], text, low=-1)
    ax.set_yticks(
      range(count),
      [f'{family} ({numbers["groups"][family]})' for family in families],
    )
    ax.set_xticks([])
    leaves = [colours.GROUPS[numbers['split'][family]] for family in families]
    _draw_tree(ax, numbers['linkage'], leaves, count)
    ax.set(
      title=f'plan {plan}', xlim=(-0.5, count + 2.6), ylim=(count - 0.5, -0.5)
    )

  return canvas.svg(
    f'families that respond alike, plan {plan}',
    2.4 + 0.32 * count,
    0.7 + 0.3 * count,
    draw,
  )


def _draw_tree(
  ax: axes.Axes,
  linkage: Sequence[Sequence[float]],
  leaf_colours: Sequence[str],
  left: float,
  width: float = 2.4,
) -> None:
  """A tree with leaves at y = 0, 1, ...; mixed branches are grey.

  Args:
    ax: axes to draw on.
    linkage: [(node, node, height, leaves)], see scipy.cluster.hierarchy.
    leaf_colours: a colour for each leaf.
    left: x of the leaves.
    width: from the leaves to the root.
  """
  root_height = max(height for _, _, height, _ in linkage) or 1
  nodes: list[tuple[float, float, str]] = [  # y, x, colour
    (y, left, colour) for y, colour in enumerate(leaf_colours)
  ]
  for a, b, height, _ in linkage:
    children = nodes[int(a)], nodes[int(b)]
    (y_a, _, colour_a), (y_b, _, colour_b) = children
    x = left + width * height / root_height
    colour = colour_a if colour_a == colour_b else colours.SOFT
    for y, x_child, colour_child in children:
      ax.plot([x_child, x], [y, y], color=colour_child, linewidth=1.2)
    ax.plot([x, x], [y_a, y_b], color=colour, linewidth=1.2)
    nodes.append(((y_a + y_b) / 2, x, colour))

"""Which colour stands for what, the same in every plot and table of a page."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

import matplotlib

from visor_jax.report import average

# Stand-ins for the colours of the page, light or dark.
INK, SOFT, LINE, PAPER = '#010203', '#010204', '#010205', '#010206'
VARIABLES = {
  INK: 'var(--ink)',
  SOFT: 'var(--soft)',
  LINE: 'var(--line)',
  PAPER: 'var(--paper)',
}
ROUTER = '#d55e00'  # vermillion: far from every colour of a plan
LOSS = '#cc6699'
# Of token reduction: the colours of Okabe and Ito, apart for all eyes.
METHODS = {
  'visionzip': '#e69f00',
  'vispruner': '#56b4e9',
  'm3': '#009e73',
  'fastv': '#0072b2',
  'pyramiddrop': '#cc79a7',
  'pack': '#a6761d',
  'divprune': '#7570b3',
  'cdpruner': '#aa4499',
  'random': '#999999',
  'resize': '#666600',
  'sparsevlm': '#117733',
  'hired': '#ddaa33',
  'eemllm': '#cc3311',
  'pixelprune': '#994f00',
  'shortv': '#882255',
  'vskip': '#44aa99',
  'dop': '#332288',
}
# Of the two groups of families.
GROUPS = {'coarse': '#0072b2', 'fine': '#d55e00'}

# {name of a selection or plan: its colour}.
Palette = Mapping[str, str]


def palette(
  plan_names: Sequence[str], summaries: Iterable[average.Summary]
) -> dict[str, str]:
  """Colours of plans, base and router, and of those with a token reduction.

  Neighbours differ in lightness too, so that the order of plans survives any
  colour blindness and a grey print.

  Args:
    plan_names: names from cheap (light) to costly (dark).
    summaries: what the page shows; a token reduction has one colour.
  """
  steps = max(1, len(plan_names) - 1)
  return (
    {name: ramp(0.9 - 0.68 * i / steps) for i, name in enumerate(plan_names)}
    | {'base': INK, 'router': ROUTER}
    | {s.name: of_method(s.method) for s in summaries if s.method}
  )


def ramp(value: float) -> str:
  """From dark (0) to light (1)."""
  rgb = matplotlib.colormaps['viridis'](value)[:3]
  return '#' + ''.join(f'{round(255 * channel):02x}' for channel in rgb)


def of_selection(palette: Palette, name: str) -> str:
  """Its colour; a router with a target has the router's."""
  return palette[name if name in palette else 'router']


def of_method(name: str) -> str:
  """Colour of a token reduction, as reduction/grammar.py writes it."""
  return METHODS.get(name.partition(':')[0], SOFT)


def text_on(colour: str) -> str:
  """Black or white, whichever reads better on a colour."""
  r, g, b = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
  luminance = 0.21 * r**2.2 + 0.72 * g**2.2 + 0.07 * b**2.2
  return '#000000' if luminance > 0.18 else '#ffffff'


def css(colour: str) -> str:
  """The colour as the page writes it."""
  return VARIABLES.get(colour, colour)

"""Draws with matplotlib onto SVG that takes its colours from the page.

Text and lines are drawn in four stand-in colours which become CSS variables,
so that one drawing serves a light and a dark page; the page must define
--ink, --soft, --line and --paper. Text stays text, in the page's own font.
"""

import html
import io
import re

import matplotlib
from matplotlib import figure

INK, SOFT, LINE, PAPER = '#010203', '#010204', '#010205', '#010206'
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
}

_VARIABLES = {
  INK: 'var(--ink)',
  SOFT: 'var(--soft)',
  LINE: 'var(--line)',
  PAPER: 'var(--paper)',
}
_STYLE = {
  'axes.axisbelow': True,
  'axes.edgecolor': LINE,
  'axes.grid': True,
  'axes.labelcolor': SOFT,
  'axes.spines.right': False,
  'axes.spines.top': False,
  'axes.titlecolor': INK,
  'axes.titlelocation': 'left',
  'axes.titlesize': 10,
  'axes.titleweight': 'bold',
  'font.family': 'DejaVu Sans',
  'font.size': 9,
  'grid.color': LINE,
  'grid.linewidth': 0.6,
  'lines.linewidth': 1.5,
  'svg.fonttype': 'none',
  'text.color': INK,
  'text.parse_math': False,
  'xtick.color': LINE,
  'xtick.labelcolor': SOFT,
  'xtick.labelsize': 8.5,
  'ytick.color': LINE,
  'ytick.labelcolor': SOFT,
  'ytick.labelsize': 8.5,
}


def svg(label: str, width: float, height: float, draw, rows: int = 1) -> str:
  """One drawing.

  Args:
    label: what a screen reader says.
    width: in inches of 96 CSS pixels; about 4.5 fills a phone.
    height: in inches.
    draw: given the axes, or a sequence of them where `rows` is above 1,
      draws.
    rows: axes above each other that share x.

  Returns:
    An <svg> element; the same drawing is the same text every time.
  """
  # The salt makes ids repeatable, and different between drawings of a page.
  with matplotlib.rc_context(_STYLE | {'svg.hashsalt': label}):
    sheet = figure.Figure((width, height), layout='constrained')
    draw(sheet.subplots(rows, sharex=True))
    file = io.StringIO()
    sheet.savefig(file, format='svg', transparent=True, metadata={'Date': None})
  text = file.getvalue()
  text = text[text.index('<svg') :]
  text = re.sub(r'<metadata>.*?</metadata>\s*', '', text, flags=re.DOTALL)
  # Ids such as axes_1 come again in every drawing and nothing refers to them.
  text = re.sub(r' id="[A-Za-z.\d]+_\d{1,3}"', '', text)
  for colour, variable in _VARIABLES.items():
    text = text.replace(colour, variable)
  pixels = 96 * width
  size = f'width:{pixels:.0f}px;min-width:{0.7 * pixels:.0f}px;max-width:100%'
  return re.sub(
    r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
    lambda m: (
      f'<svg viewBox="{m[1]}" role="img" style="{size}" '
      f'aria-label="{html.escape(label)}" '
      'xmlns:xlink="http://www.w3.org/1999/xlink">'
    ),
    text,
    count=1,
  )


def palette(names) -> dict[str, str]:
  """Colours of plans, given from cheap (light) to costly (dark).

  Neighbours differ in lightness too, so that the order survives any colour
  blindness and a grey print.
  """
  names = list(names)
  ramp = matplotlib.colormaps['viridis']
  colour = lambda i: ramp(0.9 - 0.68 * i / max(1, len(names) - 1))
  hexed = lambda c: '#' + ''.join(f'{round(255 * v):02x}' for v in c[:3])
  return {n: hexed(colour(i)) for i, n in enumerate(names)} | {
    'base': INK,
    'router': ROUTER,
  }


def colour(colours, name: str) -> str:
  """Of a selection; a router with a target has the router's."""
  return colours[name if name in colours else 'router']


def reduced(scores) -> dict[str, str]:
  """Colours of those with fewer visual tokens: a method has one."""
  return {s.name: method(s.method) for s in scores if s.method}


def method(name: str) -> str:
  """Colour of a token reduction, as reduction.py writes it."""
  return METHODS.get(name.partition(':')[0], SOFT)


def on(colour: str) -> str:
  """Black or white, whichever reads better on a colour."""
  r, g, b = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
  return (
    '#000000'
    if 0.21 * r**2.2 + 0.72 * g**2.2 + 0.07 * b**2.2 > 0.18
    else ('#ffffff')
  )


def css(colour: str) -> str:
  """The colour as the page writes it."""
  return _VARIABLES.get(colour, colour)

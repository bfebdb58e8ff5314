"""Draws with matplotlib onto SVG that takes its colours from the page.

Text and lines are drawn in four stand-in colours which become CSS variables,
so that one drawing serves a light and a dark page; the page must define
--ink, --soft, --line and --paper. Text stays text, in the page's own font.
"""

from collections.abc import Callable
import html
import io
import re

import matplotlib
from matplotlib import artist as artists
from matplotlib import axes
from matplotlib import figure

from visor_jax.report import colours

_STYLE = {
  'axes.axisbelow': True,
  'axes.edgecolor': colours.LINE,
  'axes.grid': True,
  'axes.labelcolor': colours.SOFT,
  'axes.spines.right': False,
  'axes.spines.top': False,
  'axes.titlecolor': colours.INK,
  'axes.titlelocation': 'left',
  'axes.titlesize': 10,
  'axes.titleweight': 'bold',
  'font.family': 'DejaVu Sans',
  'font.size': 9,
  'grid.color': colours.LINE,
  'grid.linewidth': 0.6,
  'lines.linewidth': 1.5,
  'svg.fonttype': 'none',
  'text.color': colours.INK,
  'text.parse_math': False,
  'xtick.color': colours.LINE,
  'xtick.labelcolor': colours.SOFT,
  'xtick.labelsize': 8.5,
  'ytick.color': colours.LINE,
  'ytick.labelcolor': colours.SOFT,
  'ytick.labelsize': 8.5,
}

_METADATA = re.compile(r'<metadata>.*?</metadata>\s*', re.DOTALL)
# Ids such as axes_1 come again in every drawing and nothing refers to them.
_ID = re.compile(r' id="[A-Za-z.\d]+_\d{1,3}"')
_ROOT = re.compile(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>')

_HOVER = re.compile(r"""<g id=(["'])hover (.*?)\1>""")

Draw = Callable[[axes.Axes], None]


def hover(artist: artists.Artist, text: str) -> None:
  """What a page says of a mark where somebody points at it."""
  artist.set_gid(f'hover {text}')


def svg(label: str, width: float, height: float, *draws: Draw) -> str:
  """One drawing.

  Args:
    label: words for a screen reader.
    width: in inches of 96 CSS pixels; about 4.5 fills a phone.
    height: in inches.
    *draws: each is given axes to draw on; several stand above each other and
      share x.

  Returns:
    An <svg> element; the same drawing is the same text every time.
  """
  # The salt makes ids repeatable, and different between drawings of a page.
  with matplotlib.rc_context(_STYLE | {'svg.hashsalt': label}):
    sheet = figure.Figure((width, height), layout='constrained')
    stack = sheet.subplots(len(draws), sharex=True, squeeze=False)[:, 0]
    for draw, ax in zip(draws, stack):
      draw(ax)
    file = io.StringIO()
    sheet.savefig(file, format='svg', transparent=True, metadata={'Date': None})
  text = file.getvalue()
  text = text[text.index('<svg') :]
  text = _HOVER.sub(r'<g><title>\2</title>', text)
  text = _ID.sub('', _METADATA.sub('', text))
  for colour, variable in colours.VARIABLES.items():
    text = text.replace(colour, variable)

  def root(match: re.Match[str]) -> str:
    pixels = 96 * width
    return (
      f'<svg viewBox="{match[1]}" role="img" style="width:{pixels:.0f}px;'
      f'min-width:{0.7 * pixels:.0f}px;max-width:100%" '
      f'aria-label="{html.escape(label)}" '
      'xmlns:xlink="http://www.w3.org/1999/xlink">'
    )

  return _ROOT.sub(root, text, count=1)

"""Parts of the page as HTML; plain text that is given is escaped."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import html
import re

from visor_jax.report import colours
from visor_jax.report import tables


def section(
  title: str, drawings: Iterable[str], caption: str, legend: str = ''
) -> str:
  """Drawings between a title and what to see in them.

  Args:
    title: HTML.
    drawings: <svg> elements.
    caption: plain text.
    legend: HTML, see `legend`.
  """
  inner = '\n'.join(f'<div class="scroll">{svg}</div>' for svg in drawings)
  return (
    f'<section><h2>{title}</h2>{legend}<div class="drawings">{inner}'
    f'</div>{how(caption)}</section>'
  )


def pair(*sections: str | None) -> str:
  """Sections side by side where the screen is wide enough; None is left out."""
  return f'<div class="pair">{"".join(s for s in sections if s)}</div>'


def how(text: str) -> str:
  """A paragraph that explains, from plain text."""
  return f'<p class="how">{html.escape(text)}</p>'


def doubt(text: str) -> str:
  """A paragraph that warns, from plain text."""
  return f'<p class="doubt">{html.escape(text)}</p>'


def table(contents: tables.Table, palette: colours.Palette) -> str:
  """The table, with a chip in its colour before every plan.

  A click on the head of a column sorts by it.
  """
  head = _line('th', contents.header, contents, palette)
  body = ''.join(
    _line('td', cells, contents, palette) for cells in contents.lines
  )
  return (
    f'<div class="scroll"><table class="sorts"><thead>{head}</thead>\n'
    f'<tbody>{body}</tbody></table></div>{"".join(map(how, contents.notes))}'
  )


def _line(
  tag: str,
  cells: Sequence[str],
  contents: tables.Table,
  palette: colours.Palette,
) -> str:
  def elements() -> Iterator[str]:
    for i, text in enumerate(cells):
      kind = ' class="word"' if i < contents.words else ''
      # A number may read like the name of a plan: one question, plan 1.
      is_plan = tag == 'th' or contents.header[i] == 'plan'
      inner = chip(text, palette) if is_plan else html.escape(text)
      yield f'<{tag}{kind}>{inner}</{tag}>'

  return f'<tr>{"".join(elements())}</tr>\n'


def chip(text: str, palette: colours.Palette) -> str:
  """A name behind a square in its colour; without, where it has none."""
  name = text.rstrip('*')
  if name.startswith(('router@', 'router-')):
    name = 'router'
  colour = palette.get(name)
  square = f'<i style="background:{colours.css(colour)}"></i>' if colour else ''
  return square + html.escape(text)


def legend(palette: colours.Palette) -> str:
  """Names and colours of plans; base, router and methods have theirs beside."""
  names = (
    name
    for name in palette
    if name not in ('base', 'router') and ':' not in name
  )
  chips = ' '.join(f'<span>{chip(name, palette)}</span>' for name in names)
  return f'<p class="legend">{chips}</p>'


def bold(text: str) -> str:
  """Plain text in which **this** is strong."""
  text = html.escape(text).replace(' %', '&nbsp;%')
  return re.sub(r'\*\*(.+?)\*\*', r'<strong>\1</strong>', text)

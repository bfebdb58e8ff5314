"""A grid of questions with their pictures: what the router did, seen."""

import base64
from collections.abc import Mapping
from collections.abc import Sequence
import html
from typing import Any

from visor_jax.report import average
from visor_jax.report import colours
from visor_jax.report import markup
from visor_jax.spec import plan as plans

# What jobs/examples.py tells apart, in the order of the columns.
KINDS = {
  'cheap': 'a cheap plan was enough',
  'dear': 'a dear plan was needed',
  'wrong': 'the router was wrong',
  'lost': 'no plan was right',
}


def section(
  examples: Sequence[Mapping[str, Any]], palette: colours.Palette
) -> str:
  """A row for each family, a column for each kind; '' for no examples.

  Args:
    examples: rows of jobs/examples.py.
    palette: colours of plans.
  """
  if not examples:
    return ''
  cells = {(row['family'], row['kind']): row for row in examples}
  total: dict[str, int] = {}
  for row in examples:
    total[row['family']] = total.get(row['family'], 0) + row['count']
  lines = ''.join(
    f'<tr><th class="word">{html.escape(family)}</th>'
    + ''.join(
      _cell(cells.get((family, kind)), total[family], palette) for kind in KINDS
    )
    + '</tr>\n'
    for family in average.families(examples)
  )
  head = ''.join(f'<th class="word">{kind}</th>' for kind in KINDS.values())
  return (
    '<section><h2>Question by question</h2><div class="scroll">'
    f'<table class="pictures"><thead><tr><th></th>{head}</tr></thead>'
    f'<tbody>{lines}</tbody></table></div>'
    + markup.how(
      'Of each family, the share of its questions that the router got right '
      'where the cheapest plan was right, too, and where it was not; that the '
      'router got wrong and a fixed plan right; and that nobody got right. '
      'Below a picture the question, its answer, and the plan that the router '
      'chose; a wrong answer is crossed out. Point at one for what the other '
      'plans said.'
    )
    + '</section>'
  )


def _cell(
  row: Mapping[str, Any] | None, total: int, palette: colours.Palette
) -> str:
  if row is None:
    return '<td>0&nbsp;%</td>'
  figures = ''.join(_figure(shown, palette) for shown in row['shown'])
  return f'<td>{100 * row["count"] / total:.0f}&nbsp;%{figures}</td>'


def _figure(shown: Mapping[str, Any], palette: colours.Palette) -> str:
  gold, answer = html.escape(shown['gold']), html.escape(shown['answer'])
  verdict = gold if answer == gold else f'<s>{answer}</s> {gold}'
  others = ''.join(
    f'\n{selection}: {text}' for selection, text in shown['answers'].items()
  )
  hover = f'test question {shown["index"]}; right: {shown["gold"]}{others}'
  plan = markup.chip(plans.name(shown['plan']), palette)
  return (
    f'<figure title="{html.escape(hover)}"><img alt="" '
    f'src="data:image/png;base64,{_base64(shown["picture"])}"><figcaption>'
    f'{html.escape(shown["question"])}: <b>{verdict}</b><br>{plan}'
    '</figcaption></figure>'
  )


def _base64(text: str) -> str:
  """The same text; that it is nothing else is what matters to a page."""
  return base64.b64encode(base64.b64decode(text, validate=True)).decode()

"""Writes one self-contained page: no script, no network, light and dark."""

import datetime
import html
import json
import os
import pathlib
import re

from visor_jax.report import analyses
from visor_jax.report import average
from visor_jax.report import canvas
from visor_jax.report import costs
from visor_jax.report import plots
from visor_jax.report import read
from visor_jax.report import style
from visor_jax.report import tables
from visor_jax.spec import plan as plans

_READ_SUMMARY = (
  '<p class="how">A plan is named by the optional SELF layers that run; max '
  'runs all, min none. Accuracy is the mean over questions within a group; '
  '<em>all</em> is the mean of both groups; ± is its standard error. FLOPs '
  'are per question; <em>saved</em> is what the base model needs for the '
  'same questions over what is needed here.</p>'
)

_READ_COSTS = (
  '<p class="how">FLOPs are means per question: <em>of it visual</em> is '
  'what the image takes, <em>vision</em> the tower and connector, '
  '<em>total</em> prefill, vision and decoding; <em>cache</em> is what a '
  "prompt's own tokens keep. Time and memory are of whole batches.</p>"
)


def write(
  workdir: str | os.PathLike, out: str | os.PathLike, *more: str | os.PathLike
) -> pathlib.Path:
  """Writes the report of a workdir.

  Args:
    workdir: what to read; see `read`.
    out: the folder to write into, made where it does not exist.
    *more: workdirs whose results are shown with them.

  Returns:
    The path of index.html.

  Raises:
    FileNotFoundError: there are no results.
    ValueError: a file is broken; names the file and the line. Or two workdirs
      have results of the same.
  """
  text = render(read.joined(workdir, *more))
  path = pathlib.Path(out) / 'index.html'
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text, encoding='utf-8')
  return path


def render(found: read.Workdir) -> str:
  """The page as text."""
  rows = average.latest(found.rows)
  scores = average.scores(rows)
  colours = canvas.palette(_plans(found, scores)) | canvas.reduced(scores)
  title = html.escape(f'VISOR report: {found.path.resolve().name}')
  parts = [
    f'<h1>{title}</h1>',
    f'<p class="verdict">{_bold(tables.verdict(rows))}</p>',
    f'<p>{_bold(tables.rivals(rows))}</p>',
    *_doubts(rows),
    _table(tables.summary_table(rows), colours),
    _READ_SUMMARY,
    *_plots(found, rows, scores, colours),
    *_costs(rows, colours),
    *_analyses(found, rows, colours),
    '<h2>Every family</h2>',
    _table(tables.families_table(rows), colours),
    *_origin(found),
  ]
  return style.PAGE.format(title=title, css=style.CSS, body='\n'.join(parts))


def _plans(found, scores) -> list[str]:
  """The names of all plans that the page shows, from cheap to costly."""
  names = {score.name for score in scores if score.fixed}
  names.update(n for row in found.rows for n in row.get('chosen') or ())
  if found.search:
    names.update(plans.name(plan) for plan in found.search['viable'])
  return sorted(names, key=average.order)


def _doubts(rows):
  """The accounting, and what makes rows that stand side by side unequal."""
  for sentence in _distinct(rows, 'accounting'):
    yield f'<p class="how">Cost: {html.escape(sentence)}</p>'
  for key in ('accounting', 'config', 'seed'):
    if len(_distinct(rows, key)) > 1:
      yield (
        f'<p class="doubt">These results differ in {key}: compare with '
        'care.</p>'
      )


def _distinct(rows, key) -> list[str]:
  return list(
    dict.fromkeys(str(row[key]) for row in rows if row.get(key) is not None)
  )


def _plots(found, rows, scores, colours):
  groups = dict.fromkeys(average.families(rows).values())
  yield _section(
    'Accuracy against cost',
    [plots.cost(scores, group, colours) for group in groups],
    'Up and left is better: the line joins the fixed plans that no cheaper '
    'plan beats, and a router above the line gains from choosing per '
    'question; small stars are the router with other targets, bars are one '
    'standard error. Diamonds are the base with fewer visual tokens, crosses '
    'a plan or the router with fewer; a line joins the settings of one '
    'method.',
  )
  losses = _section(
    'What each family loses',
    [plots.heat(rows, scores, colours)],
    'Accuracy in %; the deeper the tint of a cell, the more the plan loses '
    'against the best of its row.',
  )
  choices = any(
    row.get('chosen') and average.name(row) == 'router' for row in rows
  ) and _section(
    'What the router chose',
    [plots.choices(rows, colours)],
    'Each bar splits the questions of a family by the plan that the router '
    'gave them, from cheap (light) to costly (dark); a router that works '
    'spends more on fine families.',
    _legend(colours),
  )
  yield _pair(losses, choices)
  curve = (
    found.calibration
    and (found.calibration['confidence'] is not None)
    and _section(
      'How sure the router must be',
      [plots.calibration(found.calibration)],
      'The more confidence is asked for, the more often a costly plan is '
      'taken; the dashed line is the value in use, and beyond the point where '
      'accuracy is flat it only costs.',
    )
  )
  search = (
    found.search
    and found.search['evaluated']
    and _section(
      'What the search found',
      [plots.search(found.search, colours)],
      'Every dot is a plan that the search evaluated; the coloured ones were '
      'kept as viable, the grey ones are not used.',
    )
  )
  yield _pair(curve, search)
  if found.metrics:
    yield _section(
      'Training',
      [plots.loss(*item) for item in found.metrics.items()],
      'Loss by step: the line is the mean of neighbouring steps (its last '
      'value is in the title), the band their range; stages minimise '
      'different losses, so compare shapes and not heights.',
    )


def _costs(rows, colours):
  """What it costs, and the promises of budgets."""
  table = costs.table(rows)
  if table:
    yield '<h2>What it costs</h2>'
    yield _table(table, colours)
    yield _READ_COSTS
  promised = costs.promises(rows)
  if promised:
    yield _section(
      'Budgets: promised and delivered',
      [plots.promises(promised)],
      'A router was asked to spend a share of what max costs (stars), or to '
      'keep a share of its accuracy (dots), on average; thresholds come from '
      'held-out labels, these are test questions. The band is 10 %.',
    )
    yield _table(costs.promises_table(rows), colours)


def _analyses(found, rows, colours):
  """What the analyses found; and whether it is of the run above."""
  for section in analyses.sections(found.analyses, colours):
    yield _section(
      section.title,
      section.drawings,
      section.how,
      _legend(section.legend) if section.legend else '',
    )
  other = [
    name
    for name, one in found.analyses.items()
    if one['config'] not in _distinct(rows, 'config')
  ]
  if other:
    yield (
      f'<p class="doubt">Of another config than the results: '
      f'{html.escape(", ".join(other))}.</p>'
    )


def _origin(found):
  versions = {
    k: v for row in found.rows for k, v in (row.get('versions') or {}).items()
  }
  facts = {
    key: ', '.join(_distinct(found.rows, key)) for key in ('seed', 'config')
  } | versions
  written = datetime.datetime.fromtimestamp(
    (found.path / 'results.jsonl').stat().st_mtime, datetime.timezone.utc
  )
  yield '<h2>Where this comes from</h2><dl>'
  yield '\n'.join(
    f'<dt>{html.escape(str(k))}</dt><dd>{html.escape(str(v))}</dd>'
    for k, v in facts.items()
    if v
  )
  yield (
    f'<dt>results</dt><dd>{html.escape(str(found.path))}/results.jsonl, '
    f'written {written:%Y-%m-%d %H:%M} UTC</dd></dl>'
  )
  if found.config:
    values = html.escape(json.dumps(found.config, indent=2))
    yield f'<details><summary>config</summary><pre>{values}</pre></details>'


def _section(title: str, drawings, how: str, legend: str = '') -> str:
  inner = '\n'.join(f'<div class="scroll">{d}</div>' for d in drawings)
  return (
    f'<section><h2>{title}</h2>{legend}<div class="drawings">{inner}'
    f'</div><p class="how">{html.escape(how)}</p></section>'
  )


def _pair(*sections) -> str:
  """Sections side by side where the screen is wide enough."""
  return f'<div class="pair">{"".join(s for s in sections if s)}</div>'


def _table(table: tables.Table, colours) -> str:
  """The table as HTML, with a chip in its colour before every plan."""

  def line(tag, cells):
    yield '<tr>'
    for i, text in enumerate(cells):
      kind = ' class="word"' if i < table.words else ''
      # A number may read like the name of a plan: one question, plan 1.
      plan = tag == 'th' or table.header[i] == 'plan'
      text = _chip(text, colours) if plan else html.escape(text)
      yield f'<{tag}{kind}>{text}</{tag}>'
    yield '</tr>\n'

  head = ''.join(line('th', table.header))
  body = ''.join(''.join(line('td', cells)) for cells in table.lines)
  notes = ''.join(f'<p class="how">{html.escape(n)}</p>' for n in table.notes)
  return (
    f'<div class="scroll"><table><thead>{head}</thead>\n'
    f'<tbody>{body}</tbody></table></div>{notes}'
  )


def _chip(text: str, colours) -> str:
  name = text.rstrip('*')
  colour = colours.get(
    'router' if name.startswith(('router@', 'router-')) else name
  )
  chip = f'<i style="background:{canvas.css(colour)}"></i>' if colour else ''
  return chip + html.escape(text)


def _legend(colours) -> str:
  names = (n for n in colours if n not in ('base', 'router') and ':' not in n)
  return (
    '<p class="legend">'
    + ' '.join(f'<span>{_chip(name, colours)}</span>' for name in names)
    + '</p>'
  )


def _bold(text: str) -> str:
  text = html.escape(text).replace(' %', '&nbsp;%')
  return re.sub(r'\*\*(.+?)\*\*', r'<strong>\1</strong>', text)

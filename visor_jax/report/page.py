"""Writes one self-contained page: no network, light and dark."""

from collections.abc import Iterator
from collections.abc import Sequence
import datetime
import html
import json
import pathlib

from visor_jax.report import average
from visor_jax.report import colours
from visor_jax.report import costs
from visor_jax.report import markup
from visor_jax.report import pictures
from visor_jax.report import read
from visor_jax.report import repeats
from visor_jax.report import sentences
from visor_jax.report import style
from visor_jax.report import tables
from visor_jax.report.analyses import table as analyses
from visor_jax.report.plots import choosing
from visor_jax.report.plots import cost
from visor_jax.report.plots import families
from visor_jax.report.plots import training
from visor_jax.runtime import files
from visor_jax.runtime import paths
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir

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
  folder: pathlib.Path | str,
  out: pathlib.Path | str,
  *more: pathlib.Path | str,
) -> pathlib.Path:
  """Writes the report of a run.

  Args:
    folder: folder of the run; see `read`.
    out: folder to write into, made where it does not exist.
    *more: folders of runs whose results are shown with its own.

  Returns:
    The path of index.html.

  Raises:
    FileNotFoundError: there are no results.
    ValueError: a file is broken; names the file and the line. Or two folders
      were not asked alike.
  """
  text = render(repeats.joined(folder, *more))
  path = paths.parse(out) / 'index.html'
  files.write_atomic(path, text)
  return path


def render(contents: read.Contents) -> str:
  """The page as text."""
  rows = average.latest(contents.rows)
  summaries = average.summaries(rows)
  palette = colours.palette(_plan_names(contents, summaries), summaries)
  title = html.escape(f'VISOR report: {contents.path.resolve().name}')
  body = [
    f'<h1>{title}</h1>',
    f'<p class="verdict">{markup.bold(sentences.verdict(rows))}</p>',
    f'<p>{markup.bold(sentences.rivals(rows))}</p>',
    *_doubts(rows),
    markup.table(tables.summary_table(rows), palette),
    _READ_SUMMARY,
    *_repeats(contents, palette),
    *_accuracy(rows, summaries, palette),
    markup.pair(_losses(rows, summaries, palette), _choices(rows, palette)),
    pictures.section(contents.examples, palette),
    markup.pair(_calibration(contents), _search(contents, palette)),
    *_training(contents),
    *_costs(rows, palette),
    *_analyses(contents, rows, palette),
    '<h2>Every family</h2>',
    markup.table(tables.families_table(rows), palette),
    *_origin(contents),
  ]
  return style.PAGE.format(
    title=title, css=style.CSS, body='\n'.join(body), script=style.SCRIPT
  )


def _plan_names(
  contents: read.Contents, summaries: Sequence[average.Summary]
) -> list[str]:
  """The names of all plans that the page shows, from cheap to costly."""
  names = {summary.name for summary in summaries if summary.is_fixed}
  for row in contents.rows:
    names.update(row.get('chosen') or ())
  if contents.search:
    names.update(plans.name(plan) for plan in contents.search['viable'])
  return sorted(names, key=average.plan_order)


def _doubts(rows: Sequence[average.Row]) -> Iterator[str]:
  """The accounting, and what makes rows that stand side by side unequal."""
  for accounting in _distinct(rows, 'accounting'):
    yield markup.how(f'Cost: {accounting}')
  for text in sentences.left_out(rows):
    yield markup.doubt(text)
  for key in ('accounting', 'config', 'seed'):
    if len(_distinct(rows, key)) > 1:
      yield markup.doubt(f'These results differ in {key}: compare with care.')


def _distinct(rows: Sequence[average.Row], key: str) -> list[str]:
  return list(
    dict.fromkeys(str(row[key]) for row in rows if row.get(key) is not None)
  )


def _repeats(
  contents: read.Contents, palette: colours.Palette
) -> Iterator[str]:
  if contents.repeats:
    yield '<h2>Run by run</h2>'
    yield markup.how(
      'Runs that were asked alike. '
      f'{repeats.differences(contents.configs)} All else on this page is of '
      f'{repeats.origins(contents)}.'
    )
    yield markup.table(repeats.table(contents), palette)


def _accuracy(
  rows: Sequence[average.Row],
  summaries: Sequence[average.Summary],
  palette: colours.Palette,
) -> Iterator[str]:
  groups = dict.fromkeys(average.families(rows).values())
  yield markup.section(
    'Accuracy against cost',
    [
      cost.cost(summaries, group, palette, of)
      for of in cost.COSTS
      if any(getattr(s.all, of) for s in summaries)
      for group in groups
    ],
    'Up and left is better: the line joins the fixed plans that no cheaper '
    'plan beats, and a router above the line gains from choosing per '
    'question; small stars are the router with other targets; bars hold '
    'the accuracy 19 times in 20 (Wilson). Diamonds are the base with fewer '
    'visual tokens, crosses a plan or the router with fewer; a line joins the '
    'settings of one method.',
  )


def _losses(
  rows: Sequence[average.Row],
  summaries: Sequence[average.Summary],
  palette: colours.Palette,
) -> str:
  return markup.section(
    'What each family loses',
    [families.heat(rows, summaries, palette)],
    'Accuracy in %; the deeper the tint of a cell, the more the plan loses '
    'against the best of its row.',
  )


def _choices(
  rows: Sequence[average.Row], palette: colours.Palette
) -> str | None:
  if not any(
    row.get('chosen') and average.name(row) == 'router' for row in rows
  ):
    return None
  return markup.section(
    'What the router chose',
    [families.choices(rows, palette)],
    'Each bar splits the questions of a family by the plan that the router '
    'gave them, from cheap (light) to costly (dark); a router that works '
    'spends more on fine families.',
    markup.legend(palette),
  )


def _calibration(contents: read.Contents) -> str | None:
  record = contents.calibration
  if not record or record['confidence'] is None:
    return None
  return markup.section(
    'How sure the router must be',
    [choosing.calibration(record)],
    'The more confidence is asked for, the more often a costly plan is '
    'taken; the dashed line is the value in use, and beyond the point where '
    'accuracy is flat it only costs.',
  )


def _search(contents: read.Contents, palette: colours.Palette) -> str | None:
  record = contents.search
  if not record or not record['evaluated']:
    return None
  return markup.section(
    'What the search found',
    [choosing.search(record, palette)],
    'Every dot is a plan that the search evaluated, with its standard error; '
    'the coloured ones were kept as viable, the grey ones are not used.'
    + sentences.saved(record.get('evaluations', {})),
  )


def _training(contents: read.Contents) -> Iterator[str]:
  if contents.metrics:
    yield markup.section(
      'Training',
      [training.loss(*item) for item in contents.metrics.items()],
      'Loss by step: the line is the mean of neighbouring steps (its last '
      'value is in the title), the band their range; stages minimise '
      'different losses, so compare shapes and not heights.',
    )


def _costs(
  rows: Sequence[average.Row], palette: colours.Palette
) -> Iterator[str]:
  """What it costs, and the promises of budgets."""
  costs_table = costs.table(rows)
  if costs_table:
    yield '<h2>What it costs</h2>'
    yield markup.table(costs_table, palette)
    yield _READ_COSTS
  promised = costs.promises(rows)
  if promised:
    yield markup.section(
      'Budgets: promised and delivered',
      [choosing.promises(promised)],
      'A router was asked to spend a share of what max costs (stars), or to '
      'keep a share of its accuracy (dots), on average; thresholds come from '
      'held-out labels, these are test questions. The band is 10 %.',
    )
    yield markup.table(costs.promises_table(rows), palette)


def _analyses(
  contents: read.Contents,
  rows: Sequence[average.Row],
  palette: colours.Palette,
) -> Iterator[str]:
  """A section for each analysis; and whether it is of the run above."""
  for section in analyses.sections(contents.analyses, palette):
    yield markup.section(
      section.title,
      section.drawings,
      section.caption,
      markup.legend(section.legend) if section.legend else '',
    )
  configs = _distinct(rows, 'config')
  others = [
    name
    for name, analysis in contents.analyses.items()
    if analysis['config'] not in configs
  ]
  if others:
    yield markup.doubt(
      f'Of another config than the results: {", ".join(others)}.'
    )


def _origin(contents: read.Contents) -> Iterator[str]:
  """Seed, config and versions; when the results were written."""
  facts = {
    key: ', '.join(_distinct(contents.rows, key)) for key in ('seed', 'config')
  }
  for row in contents.rows:
    facts |= row.get('versions') or {}
  results = workdir.Workdir(contents.path).results
  written = datetime.datetime.fromtimestamp(
    results.stat().st_mtime, datetime.timezone.utc
  )
  yield '<h2>Where this comes from</h2><dl>'
  yield '\n'.join(
    f'<dt>{html.escape(str(key))}</dt><dd>{html.escape(str(value))}</dd>'
    for key, value in facts.items()
    if value
  )
  yield (
    f'<dt>results</dt><dd>{html.escape(str(results))}, '
    f'written {written:%Y-%m-%d %H:%M} UTC</dd></dl>'
  )
  if contents.config:
    values = html.escape(json.dumps(contents.config, indent=2))
    yield f'<details><summary>config</summary><pre>{values}</pre></details>'

"""Runs of one recipe side by side: seeds, or before and after a change.

Only where they were asked alike; questions may be drawn from other seeds.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import itertools
import pathlib
from typing import Any

from visor_jax.report import average
from visor_jax.report import read
from visor_jax.report import tables
from visor_jax.runtime import paths


def joined(
  first: pathlib.Path | str, *more: pathlib.Path | str
) -> read.Contents:
  """The contents of the first folder, with the results of others beside.

  `rows` are what any of them answered; what several did, a family under a plan,
  is there of the first of them, and these stand in `repeats`.

  Args:
    first: folder of a run.
    *more: folders of others.

  Raises:
    FileNotFoundError: there are no results in one of them.
    ValueError: a file is broken, or two were not asked alike; says in what.
  """
  base = read.contents(first)
  rows_of = {base.path: base.rows}
  rows_of |= {path: read.results(path) for path in map(paths.parse, more)}
  configs = {path: read.config(path) or {} for path in rows_of}
  for a, b in itertools.combinations(rows_of, 2):
    unlike = next(_unlike(rows_of[a], rows_of[b], configs[a], configs[b]), None)
    if unlike:
      raise ValueError(
        f'{a} and {b} were not asked alike: {unlike}; give each a report of '
        'its own'
      )
  rows: list[average.Row] = []
  first_with: dict[tuple[str, str], pathlib.Path] = {}
  repeated: set[pathlib.Path] = set()
  taken: dict[pathlib.Path, dict[str, None]] = {path: {} for path in rows_of}
  for path, of_run in rows_of.items():
    for row in of_run:
      name = average.name(_as_asked(row))
      owner = first_with.setdefault((row['family'], name), path)
      if owner == path:
        rows.append(row)
        taken[path][name] = None
      else:
        repeated |= {owner, path}
  del taken[base.path]
  repeats = {path: rows_of[path] for path in rows_of if path in repeated}
  return dataclasses.replace(
    base,
    rows=rows,
    repeats=repeats,
    configs={path: configs[path] for path in repeats},
    taken={path: list(names) for path, names in taken.items() if names},
  )


def _unlike(
  a: Sequence[average.Row],
  b: Sequence[average.Row],
  a_config: Mapping[str, Any],
  b_config: Mapping[str, Any],
) -> Iterator[str]:
  """What two runs were asked otherwise, so that no mean may be of both.

  Each may have families or selections of its own. A key that one config lacks,
  of an older version, tells nothing.
  """
  groups = [average.families(rows) for rows in (a, b)]
  shared = [family for family in groups[0] if family in groups[1]]
  suite = f'data.{a_config.get("data.suite")}.'
  keys = ['data.suite', *(key for key in a_config if key.startswith(suite))]
  if shared:
    keys += ['eval.sources', 'eval.score']
  for key in keys:
    values = [config[key] for config in (a_config, b_config) if key in config]
    # Primers are learned from, and never asked.
    if '.primers' not in key and any(value != values[0] for value in values):
      yield f'{key} is {values[0]!r} and {values[1]!r}'
  for family in shared:
    if groups[0][family] != groups[1][family]:
      yield f'{family} is {groups[0][family]} and {groups[1][family]}'
  asked = [
    {s.name: s.questions for s in average.summaries(map(_as_asked, rows))}
    for rows in (a, b)
  ]
  for name, counts in asked[0].items():
    others = asked[1].get(name, {})
    if counts.keys() & others.keys() and counts != others:
      family = next(
        f for f in {**counts, **others} if counts.get(f) != others.get(f)
      )
      yield (
        f'{counts.get(family, 0)} and {others.get(family, 0)} questions of '
        f'{family} under {name}'
      )


def table(contents: read.Contents) -> tables.Table:
  """A line for each selection and group, a column for each run.

  Behind them mean, lowest and highest; only of runs that answered.

  Args:
    contents: with `repeats`.
  """
  summaries = {
    path: {s.name: s for s in average.summaries(map(_as_asked, of_run))}
    for path, of_run in contents.repeats.items()
  }
  names = dict.fromkeys(
    name for of_run in summaries.values() for name in of_run
  )
  # Of the page, for runs that did not answer under it.
  largest = next(
    (s for s in average.summaries(contents.rows) if s.name == 'max'), None
  )
  lines = []
  for name in names:
    for group in (*average.GROUPS, 'all'):
      means = [
        of_run[name].means.get(group) if name in of_run else None
        for of_run in summaries.values()
      ]
      accuracies = [mean.accuracy if mean else None for mean in means]
      lines.append(_line(name, f'{group} %', accuracies))
    costs = [
      _share_of_max(of_run.get(name), of_run.get('max', largest))
      for of_run in summaries.values()
    ]
    lines.append(_line(name, '% of max cost', costs))
  without = largest and any(
    'max' not in of_run for of_run in summaries.values()
  )
  return tables.Table(
    ('plan', 'of', *_names(list(summaries)), 'mean', 'lowest', 'highest'),
    tuple(line for line in lines if line),
    ('Cost of a run without max is in % of that of the summary above.',)
    if without
    else (),
    words=2,
  )


def _share_of_max(
  summary: average.Summary | None, largest: average.Summary | None
) -> float | None:
  """The share of max's cost, None where it cannot be told."""
  if not (summary and largest and average.comparable(summary, largest)):
    return None
  return summary.all.flops / largest.all.flops


def _as_asked(row: average.Row) -> average.Row:
  """With its token reduction as it was asked for: each run finds its layers."""
  return {**row, 'method': row.get('method_asked') or row.get('method')}


def _line(
  name: str, of: str, values: Sequence[float | None]
) -> tuple[str, ...]:
  """Empty where no run has a value."""
  present = [value for value in values if value is not None]
  if not present:
    return ()
  ends = (sum(present) / len(present), min(present), max(present))
  cells = [tables.NONE if v is None else tables.percent(v) for v in values]
  return (name, of, *cells, *map(tables.percent, ends))


def _names(folders: Sequence[pathlib.Path]) -> list[str]:
  """The last parts of their paths, as many as tell them apart."""
  for parts in range(1, 1 + max(len(folder.parts) for folder in folders)):
    names = ['/'.join(folder.parts[-parts:]) for folder in folders]
    if len(set(names)) == len(names):
      return names
  return [str(folder) for folder in folders]


def differences(configs: Mapping[pathlib.Path, Mapping[str, object]]) -> str:
  """The keys in which configs differ, with their values, as a sentence."""
  names = _names(list(configs))
  keys = dict.fromkeys(key for values in configs.values() for key in values)
  sentences = []
  for key in keys:
    values = [values.get(key) for values in configs.values()]
    if any(value != values[0] for value in values):
      each = (f'{value!r} ({name})' for name, value in zip(names, values))
      sentences.append(f'{key}: {", ".join(each)}')
  return (
    f'They differ in {"; ".join(sentences)}.'
    if sentences
    else 'Their configs agree.'
  )


def origins(contents: read.Contents) -> str:
  """The folders whose results the page shows, with what of the others."""
  others = (
    f'{path}: {", ".join(names)}' for path, names in contents.taken.items()
  )
  return '; of '.join([str(contents.path), *others])

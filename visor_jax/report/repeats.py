"""Runs of one recipe side by side: seeds, or before and after a change."""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib

from visor_jax.report import average
from visor_jax.report import tables


def table(
  rows: Mapping[pathlib.Path, Sequence[average.Row]],
) -> tables.Table:
  """A line for each selection and group, a column for each run.

  Behind them mean, lowest and highest; only of runs that answered.

  Args:
    rows: results of each run.
  """
  summaries = {
    path: {s.name: s for s in average.summaries(map(_as_asked, of_run))}
    for path, of_run in rows.items()
  }
  names = dict.fromkeys(
    name for of_run in summaries.values() for name in of_run
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
      of_run[name].all.flops / of_run['max'].all.flops
      if name in of_run and 'max' in of_run
      else None
      for of_run in summaries.values()
    ]
    lines.append(_line(name, '% of max cost', costs))
  return tables.Table(
    ('plan', 'of', *_names(list(rows)), 'mean', 'lowest', 'highest'),
    tuple(line for line in lines if line),
    words=2,
  )


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

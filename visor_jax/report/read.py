"""Reads what a report is made of; every error names the file and the line.

In a workdir, all but the first may be missing:

  results.jsonl            one row per family, selector and plan
  <stage>/metrics.jsonl    one row per logged training step
  search/plans.json        the plans evaluated and those found viable
  policy/calibration.json  the router's accuracy and cost by confidence
  config.json              the values of the run
  analysis/<name>.json     what python -m visor_jax.analysis has found
"""

import dataclasses
import json
import numbers
import os
import pathlib

from visor_jax.report import average

STAGES = ('base', 'cross', 'full', 'universal', 'policy')
SELECTORS = ('base', 'fixed', 'router')
EVALUATE = (
  'python -m visor_jax.main --config=FILE:jobs=eval --workdir={workdir}'
)

_NEEDED = {
  'family': str,
  'group': str,
  'selector': str,
  'accuracy': numbers.Real,
  'n': int,
  'llm_prefill_flops': numbers.Real,
  'flops_saved': numbers.Real,
}


@dataclasses.dataclass(frozen=True)
class Workdir:
  """The contents of a workdir; None or empty stands for a missing file.

  `metrics` holds, by stage, the rows with a step and a loss.
  """

  path: pathlib.Path
  rows: list[dict]
  metrics: dict[str, list[dict]]
  search: dict | None
  calibration: dict | None
  config: dict | None
  analyses: dict[str, dict] = dataclasses.field(default_factory=dict)


def workdir(path: str | os.PathLike) -> Workdir:
  """Reads all that a report needs.

  Raises:
    FileNotFoundError: there are no results; says which command makes them.
    ValueError: a line is broken or lacks a key.
  """
  path = pathlib.Path(path)
  logs = {stage: _losses(path / stage / 'metrics.jsonl') for stage in STAGES}
  return Workdir(
    path=path,
    rows=results(path),
    metrics={stage: log for stage, log in logs.items() if log},
    search=_whole(path / 'search' / 'plans.json', 'viable', 'evaluated'),
    calibration=_whole(
      path / 'policy' / 'calibration.json', 'confidence', 'curve'
    ),
    config=_whole(path / 'config.json'),
    analyses={
      file.stem: _whole(file, 'numbers', 'options', 'config')
      for file in sorted(path.glob('analysis/*.json'))
    },
  )


def joined(first: str | os.PathLike, *more: str | os.PathLike) -> Workdir:
  """The first workdir with the results of others beside its own.

  Raises:
    ValueError: two of them answered the same questions under the same plan;
      or as `workdir`.
  """
  found = workdir(first)
  rows = list(found.rows)
  whose = {(r['family'], average.name(r)): found.path for r in rows}
  for path in map(pathlib.Path, more):
    new = results(path)
    for row in new:
      key = row['family'], average.name(row)
      if whose.setdefault(key, path) != path:
        raise ValueError(
          f'{whose[key]} and {path} both have results of "{key[1]}" on '
          f'{key[0]}: a page shows them once; give one of the two'
        )
    rows += new
  return dataclasses.replace(found, rows=rows)


def results(path: str | os.PathLike) -> list[dict]:
  """The checked rows of `path`/results.jsonl; raises as `workdir` does."""
  file = pathlib.Path(path) / 'results.jsonl'
  command = EVALUATE.format(workdir=path)
  if not file.exists():
    raise FileNotFoundError(f'there is no {file}; it is made by\n  {command}')
  rows = []
  for place, row in _lines(file):
    wrong = _wrong(row)
    if wrong:
      raise ValueError(f'{place}: {wrong}')
    rows.append(row)
  if not rows:
    raise ValueError(f'{file} is empty; it is filled by\n  {command}')
  return rows


def _wrong(row: dict) -> str | None:
  """What is wrong with a row of results, None where all is well."""
  for key, kind in _NEEDED.items():
    if not isinstance(row.get(key), kind):
      return f'"{key}" is {row.get(key)!r}, expected a {kind.__name__.lower()}'
  for key, known in (('group', average.GROUPS), ('selector', SELECTORS)):
    if row[key] not in known:
      return f'"{key}" is {row[key]!r}, expected one of {", ".join(known)}'
  if row['selector'] == 'fixed' and not isinstance(row.get('plan'), list):
    return f'"plan" is {row.get("plan")!r}; a fixed selector needs a list'
  if not 0 <= row['accuracy'] <= 1:  # false for NaN as well
    return f'"accuracy" is {row["accuracy"]}, expected 0 to 1'
  for key in ('n', 'llm_prefill_flops', 'flops_saved'):
    if not 0 < row[key] < float('inf'):
      return f'"{key}" is {row[key]}, expected a finite number above 0'
  return None


def _losses(file: pathlib.Path) -> list[dict]:
  """The logged rows that carry a loss."""
  if not file.exists():
    return []
  return [
    row
    for _, row in _lines(file)
    if isinstance(row.get('loss'), numbers.Real) and 'step' in row
  ]


def _lines(file: pathlib.Path):
  """Yields ('file, line 3', row) for the lines of a JSON-lines file."""
  with file.open(encoding='utf-8') as lines:
    for number, line in enumerate(lines, start=1):
      if line.strip():
        yield (place := f'{file}, line {number}'), _object(line, place)


def _whole(file: pathlib.Path, *needed: str) -> dict | None:
  """A file that is one JSON object; None where there is no file."""
  if not file.exists():
    return None
  value = _object(file.read_text(encoding='utf-8'), str(file))
  for key in needed:
    if key not in value:
      raise ValueError(f'{file} lacks "{key}"; it has {sorted(value)}')
  return value


def _object(text: str, place: str) -> dict:
  try:
    value = json.loads(text)
  except json.JSONDecodeError as e:
    raise ValueError(f'{place}: not JSON ({e.msg}): {text[:60]!r}') from None
  if not isinstance(value, dict):
    raise ValueError(f'{place}: expected a JSON object, not {text[:60]!r}')
  return value

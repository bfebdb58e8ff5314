"""Reads what a report is made of; every error names the file and the line.

In the folder of a run (spec/workdir.py has the names), all but the first may be
missing:

  results.jsonl            one row per family, selector and plan
  STAGE/metrics.jsonl      one row per logged training step
  search/plans.json        the plans evaluated and those found viable
  policy/calibration.json  the router's accuracy and cost by confidence
  config.json              the values of the run
  analysis/NAME.json       what python -m visor_jax.analysis measured
  eval/examples.jsonl      test questions with their pictures
"""

import dataclasses
import numbers
import pathlib
from typing import Any

from visor_jax.report import average
from visor_jax.report import fields
from visor_jax.runtime import checksums
from visor_jax.runtime import paths
from visor_jax.spec import workdir

EVALUATE = (
  'python -m visor_jax.main --config=FILE:jobs=eval --workdir={workdir}'
)


@dataclasses.dataclass(frozen=True)
class Contents:
  """What a folder holds for a report; None or empty for a missing file.

  Attributes:
    path: the folder.
    rows: rows of results, checked.
    metrics: {training stage: its rows with a step and a loss}, in order.
    search: the plans that were evaluated and those that are viable.
    calibration: confidence in use and the curve that it was chosen from.
    config: the keys that decide the results.
    analyses: {name: what its file holds}.
    examples: questions to look at, see jobs/examples.py.
    repeats: {folder: its rows} of runs that answered the same under the same
      plans, see `repeats`; empty where there are none.
    configs: {folder: its config} of these.
    taken: {folder: the selections that `rows` have from it} of other folders.
  """

  path: pathlib.Path
  rows: list[average.Row]
  metrics: dict[str, list[average.Row]]
  search: dict[str, Any] | None
  calibration: dict[str, Any] | None
  config: dict[str, Any] | None
  analyses: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
  examples: list[average.Row] = dataclasses.field(default_factory=list)
  repeats: dict[pathlib.Path, list[average.Row]] = dataclasses.field(
    default_factory=dict
  )
  configs: dict[pathlib.Path, dict[str, Any]] = dataclasses.field(
    default_factory=dict
  )
  taken: dict[pathlib.Path, list[str]] = dataclasses.field(default_factory=dict)


def contents(path: pathlib.Path | str) -> Contents:
  """Reads all that a report needs.

  Raises:
    FileNotFoundError: there are no results; says which command makes them.
    ValueError: a line is broken or lacks a key.
  """
  folder = workdir.Workdir(paths.parse(path))
  analyses = {}
  for file in sorted(folder.analysis.glob('*.json')):
    analysis = _read_object(file, 'numbers', 'options', 'config')
    if analysis is not None:
      analyses[file.stem] = analysis
  return Contents(
    path=folder.path,
    rows=results(folder.path),
    metrics=_metrics(folder),
    search=_read_object(folder.plans, 'viable', 'evaluated'),
    calibration=_read_object(folder.calibration, 'confidence', 'curve'),
    config=config(folder.path),
    analyses=analyses,
    examples=[row for _, row in checksums.read_rows(folder.examples)]
    if folder.examples.exists()
    else [],
  )


def config(path: pathlib.Path | str) -> dict[str, Any] | None:
  """The keys that decide the results of a folder; None where none are said."""
  return _read_object(workdir.Workdir(paths.parse(path)).config)


def results(path: pathlib.Path | str) -> list[average.Row]:
  """The checked rows of results in a folder; raises as `contents` does."""
  file = workdir.Workdir(paths.parse(path)).results
  command = EVALUATE.format(workdir=path)
  if not file.exists():
    raise FileNotFoundError(f'there is no {file}; it is made by\n  {command}')
  rows: list[average.Row] = []
  for location, row in checksums.read_rows(file):
    complaint = fields.complaint(row)
    if complaint:
      raise ValueError(f'{location}: {complaint}')
    rows.append(row)
  if not rows:
    raise ValueError(f'{file} is empty; it is filled by\n  {command}')
  return rows


def _metrics(folder: workdir.Workdir) -> dict[str, list[average.Row]]:
  """Logged losses of every training stage that has some.

  A stage is whatever has metrics. Those with steps in config.json come first,
  in its order; behind them those that it does not know.
  """
  if not folder.path.is_dir():
    return {}
  logged = sorted(
    child.name
    for child in folder.path.iterdir()
    if folder.metrics(child.name).exists()
  )
  keys = (key.rpartition('.') for key in _read_object(folder.config) or {})
  known = [
    group for group, _, key in keys if key == 'steps' and group in logged
  ]
  unknown = [stage for stage in logged if stage not in known]
  losses = {stage: _losses(folder.metrics(stage)) for stage in known + unknown}
  return {stage: rows for stage, rows in losses.items() if rows}


def _losses(file: pathlib.Path) -> list[average.Row]:
  """The logged rows that carry a loss."""
  return [
    row
    for _, row in checksums.read_rows(file)
    if isinstance(row.get('loss'), numbers.Real) and 'step' in row
  ]


def _read_object(file: pathlib.Path, *needed: str) -> dict[str, Any] | None:
  """A file that is one JSON object; None where there is no file."""
  return checksums.read_object(file, *needed) if file.exists() else None

"""The workdir of a run, read as the checkpoint that it has come to."""

import dataclasses
import json
import pathlib
from typing import Any

from visor_jax.checkpoint import facts as facts_lib
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import budget
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import stages


def is_run(path: pathlib.Path | str) -> bool:
  """Whether it is a workdir."""
  config = workdir_lib.Workdir(pathlib.Path(path)).config
  return config.exists() and 'model.size' in json.loads(config.read_text())


def start(path: pathlib.Path | str) -> str:
  """The checkpoint that a run started from; '' for none."""
  return _config(workdir_lib.Workdir(pathlib.Path(path)))['model.init_from']


def locate(path: pathlib.Path | str) -> facts_lib.Location:
  """What the last training stage left that is finished.

  Args:
    path: the workdir.

  Returns:
    Its location; the origin is what the run started from, which may be a
    workdir, too.

  Raises:
    ValueError: no stage is finished.
  """
  folder = workdir_lib.Workdir(pathlib.Path(path))
  finished = _finished(folder)
  if not finished:
    raise ValueError(f'{path}: no training stage is finished yet')
  return _location(folder, finished[-1])


def locate_base(path: pathlib.Path | str) -> facts_lib.Location | None:
  """What the base stage of a run left; None where it trained none."""
  folder = workdir_lib.Workdir(pathlib.Path(path))
  return _location(folder, 'base') if 'base' in _finished(folder) else None


def _location(folder: workdir_lib.Workdir, stage: str) -> facts_lib.Location:
  config = _config(folder)
  return facts_lib.Location(
    facts=_facts(folder, stage),
    origin=config['model.init_from'],
    weights=folder.checkpoints(stage) / str(config[f'{stage}.steps']),
  )


def _facts(folder: workdir_lib.Workdir, stage: str) -> facts_lib.Facts:
  """About the weights that a finished stage left."""
  architecture = architecture_lib.from_json(
    json.loads(folder.architecture.read_text())
  )
  facts = facts_lib.Facts(
    architecture, transparency=_config(folder).get('data.transparency', '')
  )
  if stage == 'base':
    layout = plans.base(architecture.depth)
    architecture = dataclasses.replace(architecture, layout=layout)
    return dataclasses.replace(facts, architecture=architecture)
  facts = dataclasses.replace(
    facts, viable=_viable(folder), trained=(facts_lib.CROSS,)
  )
  if stage != 'policy' or not folder.calibration.exists():
    return facts
  calibration = json.loads(folder.calibration.read_text())
  return dataclasses.replace(
    facts,
    trained=(facts_lib.CROSS, facts_lib.ROUTER),
    confidence=calibration['confidence'],
    curve=tuple(
      budget.Point(point['confidence'], point['share'], point['accuracy'])
      for point in calibration['curve']
    ),
  )


def _viable(folder: workdir_lib.Workdir) -> tuple[plans.Plan, ...]:
  if not folder.plans.exists():
    return ()
  viable = json.loads(folder.plans.read_text())['viable']
  return tuple(tuple(bool(on) for on in plan) for plan in viable)


def _finished(folder: workdir_lib.Workdir) -> list[str]:
  """The training stages that have come to their last step, in order."""
  config = _config(folder)
  steps = {stage: config.get(f'{stage}.steps', 0) for stage in stages.STAGES}
  return [
    stage
    for stage, last in steps.items()
    if last and (folder.checkpoints(stage) / str(last)).exists()
  ]


def _config(folder: workdir_lib.Workdir) -> dict[str, Any]:
  """The keys that decide the results: {'full.steps': 100, ...}."""
  return json.loads(folder.config.read_text())

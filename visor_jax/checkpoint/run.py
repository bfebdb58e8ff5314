"""The workdir of a run, read as the checkpoint that it has come to."""

from collections.abc import Collection
from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

from visor_jax.checkpoint import facts as facts_lib
from visor_jax.runtime import checksums
from visor_jax.runtime import errors
from visor_jax.runtime import outcomes
from visor_jax.runtime import param_paths
from visor_jax.runtime import paths
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import stages


def is_run(path: pathlib.Path | str) -> bool:
  """Whether it is a workdir."""
  config = workdir_lib.Workdir(paths.parse(path)).config
  return config.exists() and 'model.size' in checksums.read_object(config)


def start(path: pathlib.Path | str) -> str:
  """The checkpoint that a run started from; '' for none."""
  return config(path)['model.init_from']


def config(path: pathlib.Path | str) -> dict[str, Any]:
  """The keys of a run that decide its results: {'full.steps': 100, ...}."""
  return _config(workdir_lib.Workdir(paths.parse(path)))


def locate(
  path: pathlib.Path | str, started_with: Collection[str] = ()
) -> facts_lib.Location:
  """What the last training stage left that is finished.

  Args:
    path: the workdir.
    started_with: what had been trained where it started from.

  Returns:
    Its location; the origin is what the run started from, which may be a
    workdir, too.

  Raises:
    ValueError: no stage is finished.
  """
  folder = workdir_lib.Workdir(paths.parse(path))
  finished = _finished(folder)
  if not finished:
    raise errors.Refusal(f'{path}: no training stage is finished yet')
  return _location(folder, finished[-1], started_with)


def locate_base(path: pathlib.Path | str) -> facts_lib.Location | None:
  """The dense model that a run trained; None where it trained none."""
  folder = workdir_lib.Workdir(paths.parse(path))
  dense = [s for s in _finished(folder) if stages.named(s).dense]
  return _location(folder, dense[-1], ()) if dense else None


def _location(
  folder: workdir_lib.Workdir, stage: str, started_with: Collection[str]
) -> facts_lib.Location:
  config = _config(folder)
  return facts_lib.Location(
    facts=_facts(folder, stage, started_with),
    origin=config['model.init_from'],
    weights=folder.checkpoints(stage) / str(config[f'{stage}.steps']),
  )


def _facts(
  folder: workdir_lib.Workdir, stage: str, started_with: Collection[str]
) -> facts_lib.Facts:
  """About the weights that a finished stage left."""
  config = _config(folder)
  architecture = architecture_lib.from_json(
    checksums.read_object(folder.architecture)
  )
  learned = _learned(config, stage)
  beyond_base = {*learned, *started_with}
  facts = facts_lib.Facts(
    architecture, transparency=config.get('data.transparency', '')
  )
  if facts_lib.CROSS not in beyond_base:
    layout = plans.base(architecture.depth)
    return dataclasses.replace(
      facts, architecture=dataclasses.replace(architecture, layout=layout)
    )
  parts = facts_lib.CROSS, facts_lib.DECODER
  trained = tuple(part for part in parts if part in beyond_base)
  facts = dataclasses.replace(
    facts,
    viable=outcomes.viable_plans(folder, architecture.layout)
    if folder.plans.exists()
    else (),
    trained=trained,
  )
  # Not that of the start: what it chooses among has been trained on.
  if facts_lib.ROUTER not in learned or not folder.calibration.exists():
    return facts
  calibration = outcomes.calibration(folder, facts.viable)
  return dataclasses.replace(
    facts,
    trained=(*trained, facts_lib.ROUTER),
    confidence=calibration.confidence,
    curve=calibration.curve,
  )


def _learned(config: Mapping[str, Any], stage: str) -> set[str]:
  """What has learned beyond the base in a stage and in those before it."""
  record = stages.named(stage)
  if record.dense:
    return set()
  learns = param_paths.by_path(record.trains, facts_lib.EXAMPLES)
  learned = {facts_lib.EXAMPLES[path] for path in learns if learns[path]}
  for earlier in record.starts_from:
    if config.get(f'{earlier}.steps'):
      return learned | _learned(config, earlier)
  return learned


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
  return checksums.read_object(folder.config)

"""The workdir of a run, read as the checkpoint that it has come to."""

from collections.abc import Callable
import json
import pathlib

import jax

from visor_jax import config as config_lib
from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import store
from visor_jax.runtime import identity
from visor_jax.runtime import param_paths
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import budget
from visor_jax.spec import workdir as workdir_lib


def is_run(path: pathlib.Path | str) -> bool:
  """Is it a workdir?"""
  config = workdir_lib.Workdir(pathlib.Path(path)).config
  return config.exists() and 'model.size' in json.loads(config.read_text())


def read_facts(path: pathlib.Path | str) -> facts_lib.Location:
  """What is known of the last training stage that is finished.

  Args:
    path: the workdir.

  Raises:
    ValueError: no stage is finished.
  """
  folder = workdir_lib.Workdir(pathlib.Path(path))
  config = identity.from_identity(json.loads(folder.config.read_text()))
  finished = [
    stage
    for stage in config_lib.STAGES
    if config[stage].steps
    and (folder.checkpoints(stage) / str(config[stage].steps)).exists()
  ]
  if not finished:
    raise ValueError(f'{path}: no training stage is finished yet')
  stage = finished[-1]
  viable: tuple = ()
  if folder.plans.exists():
    viable = json.loads(folder.plans.read_text())['viable']
  trained = () if stage == 'base' else ('cross',)
  confidence, curve = None, ()
  if stage == 'policy' and folder.calibration.exists():
    calibration = json.loads(folder.calibration.read_text())
    confidence = calibration['confidence']
    curve = tuple(
      budget.Point(point['confidence'], point['share'], point['accuracy'])
      for point in calibration['curve']
    )
    trained += ('router',)
  facts = facts_lib.Facts(
    architecture=architecture_lib.from_json(
      json.loads(folder.architecture.read_text())
    ),
    viable=tuple(tuple(map(bool, plan)) for plan in viable),
    confidence=confidence,
    trained=trained,
    curve=curve,
  )
  return facts_lib.Location(
    facts=facts,
    origin=config.model.init_from,
    weights=folder.checkpoints(stage) / str(config[stage].steps),
  )


def read(
  path: pathlib.Path | str,
  sharding_of: Callable[[str], jax.sharding.Sharding],
  dtype: str | None = None,
) -> tuple[dict, facts_lib.Location]:
  """The parameters that the last finished training stage made.

  Args:
    path: the workdir.
    sharding_of: path of a parameter -> where it shall lie.
    dtype: of the parameters; None for float32, that of training.

  Returns:
    Nested parameters, and what is known of them.

  Raises:
    ValueError: no stage is finished.
  """
  location = read_facts(path)
  step = int(location.weights.name)
  with store.Checkpoints(location.weights.parent) as checkpoints:
    shapes = {
      name: jax.ShapeDtypeStruct(
        x.shape, dtype or x.dtype, sharding=sharding_of(name)
      )
      for name, x in param_paths.flatten(checkpoints.shapes(step)).items()
    }
    params, _ = checkpoints.restore(step, param_paths.unflatten(shapes))
  return params, location

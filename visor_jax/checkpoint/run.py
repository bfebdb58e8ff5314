"""The workdir of a run, read as the checkpoint that it has come to."""

import json
import pathlib

import jax

from visor_jax import config as config_lib
from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import store
from visor_jax.models import cross_attention
from visor_jax.models import router
from visor_jax.runtime import identity as identity_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import budget

FILE = 'config.json'


def is_run(folder) -> bool:
  """Is it a workdir?"""
  path = pathlib.Path(folder) / FILE
  return path.exists() and 'model.size' in json.loads(path.read_text())


def read_facts(folder):
  """What is known of the last training stage that is finished.

  Args:
    folder: the workdir.

  Returns:
    (facts_lib.Facts, folder of the checkpoint it started from or '', folder of
    the checkpoint that it made).

  Raises:
    ValueError: no stage is finished.
  """
  folder = pathlib.Path(folder)
  config = identity_lib.from_identity(json.loads((folder / FILE).read_text()))
  done = [
    s
    for s in config_lib.STAGES
    if config[s].steps
    and (folder / s / 'checkpoints' / str(config[s].steps)).exists()
  ]
  if not done:
    raise ValueError(f'{folder}: no training stage is finished yet')
  viable, confidence, curve = (), None, ()
  if (folder / 'search/plans.json').exists():
    viable = json.loads((folder / 'search/plans.json').read_text())['viable']
  calibration = folder / 'policy/calibration.json'
  trained = ('cross',) if done[-1] != 'base' else ()
  if done[-1] == 'policy' and calibration.exists():
    found = json.loads(calibration.read_text())
    confidence = found['confidence']
    curve = tuple(
      budget.Point(p['confidence'], p['share'], p['accuracy'])
      for p in found.get('curve', ())
      if 'share' in p
    )
    trained += ('router',)
  facts = facts_lib.Facts(
    config_lib.size(config),
    config_lib.layout(config),
    cross_attention.Options(**config.model.cross),
    router.Options(**config.model.router, plans=config.search.max_plans),
    tuple(tuple(map(bool, p)) for p in viable),
    confidence,
    trained,
    curve,
  )
  return (
    facts,
    config.model.init_from,
    (folder / done[-1] / 'checkpoints' / str(config[done[-1]].steps)),
  )


def read(folder, place, dtype=None):
  """The parameters that the last finished training stage made.

  Args:
    folder: the workdir.
    place: path of a parameter -> its sharding.
    dtype: of the parameters; None for float32, that of training.

  Returns:
    (params, facts_lib.Facts, folder of the checkpoint it started from or '').

  Raises:
    ValueError: no stage is finished.
  """
  facts, start, made = read_facts(folder)
  step = int(made.name)
  with store.Checkpoints(made.parent) as saved:
    shapes = {
      path: jax.ShapeDtypeStruct(
        x.shape, dtype or x.dtype, sharding=place(path)
      )
      for path, x in param_paths.flatten(saved.shapes(step)).items()
    }
    params, _ = saved.restore(step, param_paths.unflatten(shapes))
  return params, facts, start

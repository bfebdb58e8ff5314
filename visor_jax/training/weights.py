"""What a stage starts from, and what it has left."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import re

import jax
import ml_collections

from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import load
from visor_jax.checkpoint import resolve
from visor_jax.checkpoint import store
from visor_jax.models import cross_attention
from visor_jax.runtime import console
from visor_jax.runtime import errors
from visor_jax.runtime import param_paths
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import inputs as inputs_lib
from visor_jax.training import program as program_lib
from visor_jax.training import stages

_CROSS = 'llm/cross/'

# Parameters that are computed with as they are. All others are cast to
# model.dtype first, and may be held in it.
_FLOAT32 = re.compile(
  r'router/.*|llm/norm/.*|'
  r'vision/(.*/)?(scale|bias|running_mean|running_var|patch_bias|position)'
)

# How CROSS weights start that have not learned: values of model.cross.init.
GRAFTS: dict[
  str, Callable[[param_paths.Params, plans.Layout], param_paths.Params]
] = {
  'zero': lambda params, layout: params,  # as `init_params` makes them
  'copy': cross_attention.copy_from_layers,
}


def first(
  program: program_lib.TrainProgram, inputs: inputs_lib.Inputs
) -> param_paths.Params:
  """Parameters that a stage starts from.

  Raises:
    ValueError: the stage before it is not finished, or the checkpoint does not
      fit.
  """
  stage, config = program.stage, inputs.config
  trained, origin = _trained(stage.starts_from, config), config.model.init_from
  if trained:
    console.log(f'{stage.name}: starts from {trained[0]}')
    workdir = inputs.before or inputs.workdir
    params = _result(trained[0], workdir, config, program.params)
  elif origin:
    console.log(f'{stage.name}: starts from {origin}')
    params = imported(program, load.locate(origin))
  else:
    console.log(f'{stage.name}: starts fresh')
    params = program.init_params()
  if stage.grafts and not _cross_has_learned(program, stage.starts_from):
    params = GRAFTS[config.model.cross.init](params, program.model.layout)
  return params


def restore(stage: str, inputs: inputs_lib.Inputs) -> param_paths.Params:
  """Parameters of the first stage with steps, among this one and its forebears.

  They are to answer with, not to train: in model.dtype, but for those that are
  computed with in float32.

  A base that is not trained here is that of the checkpoint; all else is that of
  the checkpoint which is given to evaluate, if one is, or that of a trained one
  which the run starts from.

  Raises:
    ValueError: that stage is not finished, or none of them has steps; or the
      checkpoint to evaluate has no base.
  """
  config = inputs.config
  program = program_lib.build(config, stage, inputs.mesh)
  held = _held(program.params, config.model.dtype)
  candidates = (stage, *program.stage.starts_from)
  trained = _trained(candidates, config)
  base = resolve.base(config)
  if program.stage.dense and base and (config.eval.checkpoint or not trained):
    return imported(program, base, held)
  if config.eval.checkpoint:
    if program.stage.dense:
      raise errors.Refusal(
        f'{config.eval.checkpoint} grew from no dense model: '
        'take base out of eval.plans'
      )
    return imported(program, load.locate(config.eval.checkpoint), held)
  if not trained:
    if _origin_has_cross(config):
      return imported(program, load.locate(config.model.init_from), held)
    raise errors.Refusal(
      f'none of the stages {candidates} has steps in this config'
    )
  return _result(trained[0], inputs.workdir, config, held)


def _held(params: param_paths.Params, dtype: str) -> param_paths.Params:
  """Shapes of parameters to answer with, by those to train."""
  return param_paths.unflatten(
    {
      path: jax.ShapeDtypeStruct(
        x.shape,
        x.dtype if _FLOAT32.fullmatch(path) else dtype,
        sharding=x.sharding,
      )
      for path, x in param_paths.flatten(params).items()
    }
  )


def imported(
  program: program_lib.TrainProgram,
  location: facts_lib.Location,
  held: param_paths.Params | None = None,
) -> param_paths.Params:
  """Parameters of a checkpoint, and fresh ones that it lacks.

  Args:
    program: whose shapes they must have.
    location: of a checkpoint folder or of a run.
    held: shapes and dtypes that they shall have; None for the program's.

  Raises:
    ValueError: a parameter has another shape, or the model lacks it.
  """
  shardings = jax.tree.map(lambda x: x.sharding, program.params)
  dtypes = {
    path: x.dtype
    for path, x in param_paths.flatten(held or program.params).items()
  }
  checkpoint = load.read(location, shardings, dtypes)
  params = param_paths.flatten(checkpoint.params)
  _require_shapes(params, program, str(location.weights))
  fresh = param_paths.flatten(program.init_params(known=params.keys()))
  missing = {path: x.astype(dtypes[path]) for path, x in fresh.items()}
  return param_paths.unflatten(params | missing)


def _require_shapes(
  params: Mapping[str, jax.Array], program: program_lib.TrainProgram, path: str
) -> None:
  expected = param_paths.flatten(program.params)
  wrong = [
    f'{name} is {value.shape}, expected {expected[name].shape}'
    for name, value in params.items()
    if value.shape != expected[name].shape
  ]
  if wrong:
    raise errors.Refusal(
      f'checkpoint {path} does not fit model.size '
      f'{program.config.model.size}: ' + '; '.join(wrong)
    )


def _trained(
  names: Sequence[str], config: ml_collections.ConfigDict
) -> list[str]:
  """Those of some stages that this config trains."""
  return [name for name in names if config[name].steps]


def _result(
  stage: str,
  workdir: workdir_lib.Workdir,
  config: ml_collections.ConfigDict,
  params: param_paths.Params,
) -> param_paths.Params:
  """Parameters that a stage of this config ended with.

  Args:
    stage: its name.
    workdir: where it ran.
    config: the whole config.
    params: their shapes and shardings.

  Raises:
    ValueError: it is not finished.
  """
  folder, last = workdir.checkpoints(stage), config[stage].steps
  if not (folder / str(last)).exists():
    raise errors.Refusal(
      f'the {stage} stage is not finished ({folder} has no step {last}); run '
      f'it first: --config=...:jobs={stage}'
    )
  with store.Checkpoints(folder) as checkpoints:
    restored, _ = checkpoints.restore(last, params)
  return restored


def _cross_has_learned(
  program: program_lib.TrainProgram, earlier: Sequence[str]
) -> bool:
  """Whether CROSS weights have been trained before a stage.

  Args:
    program: of the stage.
    earlier: the stages that it may start from, the first of them first.
  """
  trained = _trained(earlier, program.config)
  if trained:
    source = stages.named(trained[0])
    learned, _ = param_paths.split(program.params, source.trains)
    return any(path.startswith(_CROSS) for path in learned) or (
      _cross_has_learned(program, source.starts_from)
    )
  return _origin_has_cross(program.config)


def _origin_has_cross(config: ml_collections.ConfigDict) -> bool:
  """Whether a run starts from a checkpoint with trained CROSS weights."""
  origin = config.model.init_from
  return bool(origin) and (facts_lib.CROSS in load.locate(origin).facts.trained)

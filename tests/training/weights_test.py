"""What a stage starts from, and what it has left."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from tests import rows
from tests import tiny
from visor_jax import config as config_lib
from visor_jax.checkpoint import resolve
from visor_jax.checkpoint import store
from visor_jax.runtime import identity
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import inputs as inputs_lib
from visor_jax.training import program as program_lib
from visor_jax.training import stages
from visor_jax.training import weights

QUERY = ('llm/cross/query', 'llm/layers/attention/query')


def configured(*trained, **model):
  """A config that trains some stages for a step."""
  config = tiny.get_config()
  for stage in stages.STAGES:
    config[stage].steps = int(stage in trained)
  for key, value in model.items():
    config.model.cross[key] = value
  return config


def inputs_of(config, folder):
  mesh = mesh_lib.make(devices=jax.devices()[:1])
  return inputs_lib.Inputs(config, workdir_lib.Workdir(folder), mesh, None)


def program_of(stage, inputs):
  return program_lib.build(inputs.config, stage, inputs.mesh)


def leave(inputs, stage, value):
  """A finished stage all of whose parameters have a value."""
  program = program_of(stage, inputs)
  params = jax.tree.map(
    lambda x: np.full(x.shape, value, x.dtype), program.params
  )
  with store.Checkpoints(inputs.workdir.checkpoints(stage)) as checkpoints:
    checkpoints.save(inputs.config[stage].steps, params)
  return params


def finish(inputs):
  """Makes a workdir one that a run may start from."""
  inputs.workdir.config.write_text(json.dumps(identity.identity(inputs.config)))
  architecture = resolve.architecture(inputs.config).to_json()
  inputs.workdir.architecture.write_text(json.dumps(architecture))


def value(params, path='connector/newline'):
  leaf = np.unique(param_paths.flatten(params)[path])
  return leaf.item() if leaf.size == 1 else None


def first(stage, inputs):
  return weights.first(program_of(stage, inputs), inputs)


def test_a_stage_starts_from_the_last_one_that_was_trained(tmp_path):
  """Stages without steps are left out; what is not finished is named."""
  inputs = inputs_of(configured('base', 'universal'), tmp_path)
  with pytest.raises(ValueError, match='base stage is not finished.*jobs=base'):
    first('universal', inputs)
  leave(inputs, 'base', 2)
  assert value(first('universal', inputs)) == 2
  assert value(weights.restore('full', inputs)) == 2


@pytest.mark.parametrize('stage', ['base', 'cross', 'full'])
def test_the_connector_alone_may_learn_first(stage, tmp_path):
  """Nothing else does; then it answers as the base, and all go on from it."""
  inputs = inputs_of(configured('connector', stage), tmp_path)
  program = program_of('connector', inputs)
  assert program.plan(0) is None  # between tower and decoder of the dense model
  learns = {path for path in program.state.trained}
  assert learns == {
    path
    for path in param_paths.flatten(program.params)
    if path.startswith('connector/')
  }
  leave(inputs, 'connector', 7)
  assert value(first(stage, inputs)) == 7
  if stage != 'base':
    assert value(weights.restore('base', inputs)) == 7


def test_a_run_that_is_evaluated_keeps_its_base(tmp_path):
  """Plan base is the dense network, not that which universal made of it."""
  run = inputs_of(configured('base', 'universal'), tmp_path / 'run')
  leave(run, 'base', 2)
  leave(run, 'universal', 3)
  finish(run)
  config = configured('base', 'universal')
  config.eval.checkpoint = str(tmp_path / 'run')
  again = inputs_of(config, tmp_path / 'again')
  assert value(weights.restore('base', again)) == 2
  assert value(weights.restore('universal', again)) == 3


def test_what_grew_from_no_base_has_none_to_evaluate(tmp_path):
  run = inputs_of(configured('universal'), tmp_path / 'run')
  leave(run, 'universal', 3)
  finish(run)
  config = configured('universal')
  config.eval.checkpoint = str(tmp_path / 'run')
  with pytest.raises(ValueError, match='no dense model: take base out of'):
    weights.restore('base', inputs_of(config, tmp_path / 'again'))


def test_a_stage_may_start_in_another_workdir(tmp_path):
  config = configured('universal', 'policy')
  run = inputs_of(config, tmp_path / 'run')
  leave(run, 'universal', 3)
  other = dataclasses.replace(
    inputs_of(config, tmp_path / 'other'), before=run.workdir
  )
  assert value(first('policy', other)) == 3


def test_nobody_restores_what_no_stage_makes(tmp_path):
  with pytest.raises(
    ValueError, match="none of the stages .'full'.* has steps"
  ):
    weights.restore('full', inputs_of(configured(), tmp_path))


@pytest.mark.parametrize('init', ['zero', 'copy'])
def test_cross_weights_start_as_the_config_says(init, tmp_path):
  inputs = inputs_of(configured('cross', init=init), tmp_path)
  params = param_paths.flatten(first('cross', inputs))
  layout = program_of('cross', inputs).model.layout
  cross, base = (np.asarray(params[path]) for path in QUERY)
  same = np.array_equal(cross, base[list(layout.indices('cross'))])
  assert same == (init == 'copy')


def test_cross_weights_that_have_learned_are_not_overwritten(tmp_path):
  """Neither those of a checkpoint, nor those of a base trained from it."""
  run = inputs_of(configured('cross'), tmp_path / 'run')
  leave(run, 'cross', 4)
  finish(run)
  config = configured('cross', init='copy')
  config.model.init_from = str(tmp_path / 'run')
  assert value(first('cross', inputs_of(config, tmp_path / 'x')), QUERY[0]) == 4
  config.base.steps = 1
  again = inputs_of(config, tmp_path / 'y')
  moved = leave(again, 'base', 5)
  flat = param_paths.flatten(moved)
  flat[QUERY[0]] = np.full_like(flat[QUERY[0]], 4)  # frozen in the base stage
  with store.Checkpoints(again.workdir.checkpoints('base')) as checkpoints:
    checkpoints.save(1, param_paths.unflatten(flat))
  assert value(first('cross', again), QUERY[0]) == 4


def test_cross_weights_of_a_checkpoint_that_has_none_are_copies(tmp_path):
  """A run whose base alone is done says that nothing else has learned."""
  run = inputs_of(configured('base'), tmp_path / 'run')
  leave(run, 'base', 6)
  finish(run)
  config = configured('cross', init='copy')
  config.model.init_from = str(tmp_path / 'run')
  config.model.size = 'tiny'
  assert config_lib.default().model.cross.init == 'zero'
  assert value(first('cross', inputs_of(config, tmp_path / 'x')), QUERY[0]) == 6


def test_what_answers_is_held_in_the_dtype_that_is_computed_in(tmp_path):
  """Half the bytes, the same bits: only what is cast anyway is held so."""
  inputs = inputs_of(configured('base'), tmp_path)
  program = program_of('base', inputs)
  saved = program.init_params()
  with store.Checkpoints(inputs.workdir.checkpoints('base')) as checkpoints:
    checkpoints.save(1, saved)
  inputs.config.model.dtype = 'bfloat16'
  held = weights.restore('base', inputs)
  flat = param_paths.flatten(held)
  assert flat['llm/layers/mlp/up'].dtype == 'bfloat16'
  assert flat['router/up'].dtype == flat['llm/norm/scale'].dtype == 'float32'
  model = program_of('base', inputs).model
  batch = rows.batch(
    ('tvvtp',),
    vision=model.size.vision,
    vocabulary=model.size.language.vocabulary,
  )

  def run(params):
    logits, scores = jax.jit(
      lambda p: model.apply({'params': p}, batch, method='init_all')
    )(params)
    return np.asarray(logits), np.asarray(scores)

  for got, want in zip(run(held), run(saved), strict=True):
    np.testing.assert_array_equal(got, want)

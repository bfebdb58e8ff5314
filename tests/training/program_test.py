"""One stage's step: what it is made of, before anything is there."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import tiny
import visor_jax
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.training import program as program_lib
from visor_jax.training import stages


def small(**options):
  config = tiny.get_config()
  for stage in stages.STAGES:
    config[stage].update(options)
  return config


def like(tree):
  return jax.tree.map(lambda x: (x.shape, x.dtype, x.sharding.spec), tree)


def zeros(shapes):
  return jax.tree.map(
    lambda x: jax.device_put(jnp.zeros(x.shape, x.dtype), x.sharding), shapes
  )


@pytest.mark.parametrize(
  'stage,optimizer',
  [
    ('base', 'adamw'),
    ('universal', 'adamw'),
    ('universal', 'muon'),
    ('policy', 'adamw'),
    ('policy', 'muon'),  # none of its weights is Muon's
  ],
)
def test_a_program_runs_without_data_or_workdir(stage, optimizer):
  """As in a notebook: what comes out has the shapes that it says."""
  devices, config = jax.devices()[:1], small()
  config.optim.name = optimizer
  program = program_lib.from_config(config, stage, devices)
  state = program.init_state(program.init_params())
  assert like(state) == like(program.state)
  _, examples, _ = program.arguments()
  state, metrics = program.run(0, state, zeros(examples))
  assert like(state) == like(program.state)
  assert metrics.keys() >= {'loss', 'grad_norm', 'skipped', 'targets'}


@pytest.mark.parametrize('optimizer', ['adamw', 'muon'])
def test_moments_lie_as_their_parameters_do(optimizer):
  """On eight devices, or they would not fit where parameters do."""
  config = small()
  config.mesh.fsdp, config.optim.name = 4, optimizer
  program = visor_jax.train_program(config, 'cross')
  specs = {path: x.sharding.spec for path, x in program.state.trained.items()}
  assert any('fsdp' in (axes or ()) for axes in specs['llm/cross/query'])
  moments = collections.Counter()
  for path, x in jax.tree_util.tree_leaves_with_path(program.state.opt):
    name = getattr(path[-1], 'key', '')
    if name in specs:
      assert x.sharding.spec == specs[name]
      moments[name] += 1
  assert moments.keys() == specs.keys()
  matrices = {'query', 'key', 'value', 'out'} if optimizer == 'muon' else ()
  for path, count in moments.items():
    assert count == (1 if path.split('/')[-1] in matrices else 2)


def test_a_step_has_the_plan_that_its_config_says():
  program = visor_jax.train_program(small(plan='max'), 'full')
  assert program.plan(3) == program.model.layout.max
  assert visor_jax.train_program(small(plan='base'), 'full').plan(3) is None
  drawn = visor_jax.train_program(small(plan='viable'), 'universal')
  assert drawn.plan(3) == drawn.plan(3) in drawn.viable


def test_parameters_that_are_there_are_not_made_again():
  program = program_lib.from_config(small(), 'full', jax.devices()[:1])
  every = param_paths.flatten(program.init_params())
  known = [path for path in every if path.startswith('llm/')]
  rest = param_paths.flatten(program.init_params(known))
  assert rest.keys() == every.keys() - set(known)
  for path, x in rest.items():
    np.testing.assert_array_equal(x, every[path])


@pytest.mark.parametrize(
  'stage,options,words',
  [
    ('annealing', {}, '"annealing" is not one of connector, base'),
    ('full', dict(batch=6), r'full\.batch is 6'),
  ],
)
def test_what_cannot_be_built_is_said(stage, options, words):
  with pytest.raises(ValueError, match=words):
    visor_jax.train_program(small(**options), stage)


def test_a_step_with_all_tokens_is_another_program():
  """Two at most: the first steps, and those with fewer visual tokens."""
  config = small(full_token_fraction=0.25)
  assert visor_jax.train_program(config, 'full').steps.keys() == {('',)}
  config.model.reduce = 'pack:2'
  program = visor_jax.train_program(config, 'full')
  assert program.steps.keys() == {('',), ('pack:2',)}
  assert program.steps is program.steps
  assert program.reductions(2) == ('',) and program.reductions(3) == ('pack:2',)
  assert mesh_lib.num_batch_shards(program.mesh) == len(jax.devices())

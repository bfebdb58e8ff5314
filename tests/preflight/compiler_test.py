"""What preflight compiles is the step that runs."""

import re

import jax
import jax.numpy as jnp
import pytest

from tests import tiny
from visor_jax.data.suites import table as suites
from visor_jax.preflight import compiler
from visor_jax.preflight import machine as machine_lib
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import workdir
from visor_jax.training import inputs
from visor_jax.training import loop
from visor_jax.training import program as program_lib
from visor_jax.training import stages
from visor_jax.training import targets


@pytest.mark.parametrize(
  'text,needed,room,temporaries',
  [
    (
      'RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required '
      'for HLO temporaries (116.50G) exceeds available HBM (15.75G).',
      116.5,
      15.75,
      True,
    ),
    (
      'RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory '
      'in memory space hbm. Used 20.25G of 15.75G hbm. Exceeded hbm capacity '
      'by 4.50G.\nTotal hbm usage >= 20.51G:',
      20.25,
      15.75,
      False,
    ),
  ],
)
def test_what_the_compiler_says_when_a_step_is_too_big(
  text, needed, room, temporaries
):
  e = compiler.TooBig(text)
  assert (e.needed, e.room) == (needed * 2**30, room * 2**30)
  assert e.temporaries == temporaries
  assert '\n' not in str(e)


@pytest.mark.parametrize(
  'reduce,all_tokens,want',
  [
    ('', 0.5, ('',)),
    ('pack:2', 0.0, ('pack:2',)),
    ('pack:2', 0.5, ('',)),
    ('m3:1+m3:5', 0.5, ('m3:1', 'm3:5')),
    ('m3:1+m3:5', 1.0, ('',)),
  ],
)
def test_the_step_is_the_one_with_most_visual_tokens(reduce, all_tokens, want):
  config = tiny.get_config('jobs=full')
  config.model.reduce, config.full.full_token_fraction = reduce, all_tokens
  program = compiler.train_program(
    config, 'full', machine_lib.describe('cpu:1')
  )
  assert program.reductions(compiler.most_expensive(program)) == want


def jaxpr(program, *arguments):
  """The step as text, but for where functions lie in memory."""
  step = program.steps[program.reductions(0)]
  with mesh_lib.use_mesh(program.mesh):
    return re.sub('0x[0-9a-f]+', '', str(step.trace(*arguments).jaxpr))


@pytest.mark.parametrize('stage', ['full', 'policy'])
def test_what_is_compiled_is_the_step_that_the_loop_runs(
  stage, tmp_path, monkeypatch
):
  """Of shapes and of the arrays of a run, it is the same program.

  Of the policy stage that where no features are kept, which computes more.
  """
  config = tiny.get_config()
  config.policy.features_gb, config.policy.loss = 0.0, 'reward'
  for name in stages.STAGES:
    config[name].steps = int(name == stage)
  program = compiler.train_program(config, stage, machine_lib.describe('cpu:1'))
  target = targets.example('reward', len(program.viable))
  ran = []

  class Recorded(program_lib.TrainProgram):
    def run(self, step, state, examples):
      plan = self.plan(step)
      plan = None if plan is None else jnp.asarray(plan)
      ran.append(jaxpr(self, state, examples, plan))
      return super().run(step, state, examples)

  monkeypatch.setattr(program_lib, 'TrainProgram', Recorded)
  loop.train(
    stage,
    inputs.Inputs(
      config,
      workdir.Workdir(tmp_path),
      mesh_lib.make(devices=jax.devices()[:1]),
      suites.open_suite(config, (stage,), ''),
      viable=program.viable,
      labels=[(i, target) for i in range(9)],
    ),
  )
  assert ran == [jaxpr(program, *program.arguments())]

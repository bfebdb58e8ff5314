"""The loop: one for every training stage."""

from collections.abc import Iterator
import dataclasses
import sys

import jax

from visor_jax.checkpoint import store
from visor_jax.data.pipeline import loader
from visor_jax.data.processing import packing
from visor_jax.runtime import console
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.runtime import preempt
from visor_jax.training import features
from visor_jax.training import inputs as inputs_lib
from visor_jax.training import losses
from visor_jax.training import program as program_lib
from visor_jax.training import step as step_lib
from visor_jax.training import telemetry as telemetry_lib
from visor_jax.training import weights


def train(stage: str, inputs: inputs_lib.Inputs) -> None:
  """Runs a training stage to its end, from where it was cut off if it was.

  Args:
    stage: its name.
    inputs: what it is given.

  Raises:
    ValueError: the stage it starts from is not finished, its own checkpoints
      are all bad, or too many steps in a row were not finite.
    SystemExit: a signal asked to leave; the step is saved.
  """
  config = inputs.config
  steps, every = config[stage].steps, config.checkpoint.every
  with store.Checkpoints(
    inputs.workdir.checkpoints(stage), config.checkpoint.keep
  ) as checkpoints:
    saved = start = checkpoints.resume()
    if start == steps:
      console.log(f'{stage}: done before')
      return
    program = program_lib.build(config, stage, inputs.mesh, inputs.viable)
    state = _state(program, inputs, checkpoints, start)
    if program.stage.feed.features:
      table = features.keep(program, state, inputs)
      inputs = dataclasses.replace(inputs, features=table)
    feed = _feed(program, inputs, start)
    with telemetry_lib.Telemetry(program, inputs, start) as telemetry:
      for step, examples in enumerate(telemetry.batches(feed), start):
        if preempt.requested():
          telemetry.check()
          if step > saved:
            checkpoints.save(step, state.params, state.opt)
          checkpoints.wait()
          console.log(
            f'{stage}: {preempt.reason()}; the same command goes on from step '
            f'{step}'
          )
          sys.exit(preempt.EXIT_CODE)
        telemetry.before(step, examples)
        examples = jax.tree.map(
          lambda x: mesh_lib.shard_batch(x, inputs.mesh), examples
        )
        state, numbers = program.run(step, state, examples)
        telemetry.after(step, state, numbers)
        done = step + 1
        if done % every == 0 or done == steps:
          telemetry.check()
          checkpoints.save(done, state.params, state.opt)
          saved = done
    checkpoints.wait()


def _state(
  program: program_lib.TrainProgram,
  inputs: inputs_lib.Inputs,
  checkpoints: store.Checkpoints,
  start: int,
) -> step_lib.State:
  """The state before a step: restored, or that of the very first."""
  if not start:
    return program.init_state(weights.first(program, inputs))
  console.log(f'{program.stage.name}: goes on from step {start}')
  params, opt = checkpoints.restore(start, program.params, program.state.opt)
  return step_lib.State(*param_paths.split(params, program.stage.trains), opt)


def _feed(
  program: program_lib.TrainProgram, inputs: inputs_lib.Inputs, start: int
) -> Iterator[telemetry_lib.HostExamples]:
  """Examples of the stage from a step on, rows of this process."""
  stage, options, data = program.stage, program.options, inputs.config.data
  table = inputs.features
  stack = packing.stack if table is None else table.stack
  examples = losses.Examples if table is None else losses.FeatureExamples
  for rows, labels in loader.batches(
    stage.feed.load(stage.name, inputs),
    options.batch,
    start,
    options.steps,
    local_rows=mesh_lib.local_rows(options.batch, inputs.mesh),
    threads=data.threads,
    prefetch=data.prefetch,
    stack=stack,
  ):
    yield examples(rows, labels)

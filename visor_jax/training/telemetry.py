"""What is printed and written of a stage's steps, beside its checkpoints."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import functools
import time
from typing import Self

import jax
import numpy as np

from visor_jax.runtime import console
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import plan as plans
from visor_jax.training import input_wait
from visor_jax.training import inputs as inputs_lib
from visor_jax.training import losses
from visor_jax.training import metrics as metrics_lib
from visor_jax.training import nonfinite
from visor_jax.training import optim
from visor_jax.training import program as program_lib
from visor_jax.training import step as step_lib
from visor_jax.training import throughput as throughput_lib
from visor_jax.training import trace as trace_lib

# Rows of this process, in numpy.
HostExamples = losses.Examples | losses.FeatureExamples

BY_PLAN = 'loss/'  # and the name of a plan
INPUT_BOUND = 0.1  # share of the time at which waiting for input is named so


class Telemetry:
  """Follows the steps of a stage without holding them up.

  Args:
    program: whose steps.
    inputs: of the stage.
    start: the first step.
  """

  def __init__(
    self,
    program: program_lib.TrainProgram,
    inputs: inputs_lib.Inputs,
    start: int,
  ):
    config, name = inputs.config, program.stage.name
    options, workdir = program.options, inputs.workdir
    self._program, self._suite = program, inputs.suite
    self._start, self._every = start, config.log.every
    local_rows = mesh_lib.local_rows(options.batch, inputs.mesh)
    self._throughput = throughput_lib.Throughput(
      program.model, program.stage.passes, len(local_rows) / options.batch
    )
    self._progress = console.Progress(name, options.steps)
    self._metrics = metrics_lib.open_log(config, workdir, name, start)
    self._trace = trace_lib.Trace(workdir.trace(name), config.log.trace)
    self._skipped = nonfinite.NonFiniteSteps(
      workdir.nonfinite(name),
      start,
      options.batch,
      functools.partial(program.stage.feed.record_ids, name, inputs),
      config.optim.max_nonfinite_steps,
    )
    self._wait = input_wait.InputWaitMeter()
    self._numbers: losses.Metrics = {}  # of the newest step
    # Since the last row: the plan of each step, and what it gave.
    self._plans: list[str] = []
    self._steps: list[losses.Metrics] = []
    self._began = time.monotonic()
    self._open = contextlib.ExitStack()

  def __enter__(self) -> Self:
    for part in (self._metrics, self._trace, self._skipped, self._wait):
      self._open.enter_context(part)
    self._began = time.monotonic()
    return self

  def __exit__(self, *exc: object) -> None:
    self._open.close()

  def batches(self, batches: Iterable[HostExamples]) -> Iterator[HostExamples]:
    """Passes batches on, and notes how long the device waits for them."""
    return self._wait.batches(batches)

  def before(self, step: int, examples: HostExamples) -> None:
    """Before a step is run on these rows of this process."""
    program = self._program
    plan = program.plan(step)
    self._plans.append('base' if plan is None else plans.name(plan))
    if isinstance(examples, losses.Examples):
      self._throughput.add(examples.batch, plan, program.reductions(step))
    else:
      self._throughput.add_features(len(examples.labels))
    self._trace.step(
      step, functools.partial(jax.block_until_ready, self._numbers)
    )

  def after(
    self, step: int, state: step_lib.State, numbers: losses.Metrics
  ) -> None:
    """After a step is started; returns when the one before it is done.

    Raises:
      ValueError: as `check`.
    """
    self._wait.busy(functools.partial(jax.block_until_ready, numbers))
    # Or batches would pile up on the device.
    jax.block_until_ready(self._numbers)
    self._numbers, done = numbers, step + 1
    self._steps.append(numbers)
    self._skipped.add(done, numbers['skipped'])
    if done % self._every == 0 or done in (
      self._start + 1,
      self._program.options.steps,
    ):
      self._write(done, state)
      self.check()

  def check(self) -> None:
    """Stops a run that goes nowhere.

    Raises:
      ValueError: too many steps in a row were not finite.
    """
    self._skipped.check()

  def _write(self, done: int, state: step_lib.State) -> None:
    """A line on the console and a row of metrics, of all since the last one."""
    steps = jax.device_get(self._steps)
    learning_rate = optim.learning_rate(
      self._program.options, state.opt, bool(steps[-1]['skipped'])
    )
    row, by_plan = means(steps), losses_by_plan(self._plans, steps)
    self._plans, self._steps = [], []
    row['skipped'] = self._skipped.take()  # of all steps since the last row
    waited = self._wait.share()
    input_ = 'input-bound' if waited > INPUT_BOUND else 'input'
    padding, rates = self._throughput.take()
    counts = self._suite.counts
    name, *others = (key.removeprefix(BY_PLAN) for key in by_plan)
    self._progress.line(
      done,
      **row,
      plan=f'{1 + len(others)} of them' if others else name,
      **rates,
      **counts,
      **{input_: f'{waited:.0%}'},
    )
    self._metrics.write(
      done,
      dict(
        **row,
        **(by_plan if others else {}),
        **rates,
        **padding,
        **counts,
        input_wait=round(waited, 4),
        learning_rate=learning_rate,
        seconds=round(time.monotonic() - self._began, 3),
      ),
    )


def means(steps: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
  """Of what steps gave that were applied; of all where none was."""
  applied = [step for step in steps if not step['skipped']] or steps
  return {
    name: float(np.mean([step[name] for step in applied], dtype=np.float64))
    for name in applied[-1]
  }


def losses_by_plan(
  names: Sequence[str], steps: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, float]:
  """{'loss/PLAN': mean loss of the steps that ran it}, in order of names."""
  return {
    BY_PLAN + plan: means(
      [step for name, step in zip(names, steps, strict=True) if name == plan]
    )['loss']
    for plan in sorted(set(names))
  }

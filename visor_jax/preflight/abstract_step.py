"""A stage's train step on paper: built from shapes, compiled, never run.

It is the step of train.train, its state spread and its batch placed as there.
No checkpoint is read and no array made.
"""

import dataclasses
import math
import re
import time

import jax
import jax.numpy as jnp

from visor_jax.checkpoint import resolve
from visor_jax.checkpoint import store
from visor_jax.data.processing import packing
from visor_jax.data.suites import table as suites
from visor_jax.preflight import hlo
from visor_jax.preflight import machine as machine_lib
from visor_jax.reduction import grammar
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.training import loop
from visor_jax.training import optim
from visor_jax.training import stages
from visor_jax.training import step as step_lib


class TooBig(Exception):
  """The compiler found no room.

  Attributes:
    needed: bytes it would take; only its temporaries where `temporaries`.
    room: bytes there are.
  """

  def __init__(self, text: str):
    numbers = re.findall(r'\b([\d.]+)([KMGT])\b', text)
    self.temporaries = 'temporaries' in text
    self.needed, self.room = (
      float(n) * 2 ** {'K': 10, 'M': 20, 'G': 30, 'T': 40}[unit]
      for n, unit in numbers[:2]
    )
    super().__init__(text.splitlines()[0])


@dataclasses.dataclass(frozen=True)
class AbstractStep:
  """A step, ready to be compiled.

  Attributes:
    run: the jitted step.
    args: abstract (state, rows, plan), with their shardings.
    mesh: that they lie on.
  """

  run: object
  args: tuple
  mesh: object

  @property
  def batch(self):
    rows = self.args[1]
    return rows[0] if isinstance(rows, tuple) else rows

  def held(self) -> dict[str, int]:
    """Bytes that a device holds before the step begins, by kind."""
    state, rows, plan = self.args
    return dict(
      trained=_held(state.trained),
      frozen=_held(state.frozen),
      optimizer=_held(state.opt),
      batch=_held((rows, plan)),
    )


@dataclasses.dataclass(frozen=True)
class Compiled:
  """What the compiler says, of one device.

  Attributes:
    peak: bytes at the worst moment, what is held before the step among them.
    code: bytes.
    most: what a step does whose conditionals all take the dearer branch.
    least: the cheaper branch.
    seconds: {lower, compile, cpu}: wall time, and CPU time of both.
  """

  peak: int
  code: int
  most: hlo.Count
  least: hlo.Count
  seconds: dict[str, float]


def abstract_step(
  config, name: str, machine: machine_lib.Machine
) -> AbstractStep:
  """The step of a training stage.

  Args:
    config: the whole config; its sizes are those of model.size by name.
    name: of the stage.
    machine: that it shall run on.

  Raises:
    ValueError: the config does not fit together, or not this machine.
  """
  stage, options = stages.STAGES[name], config[name]
  try:
    mesh = mesh_lib.make(**config.mesh, devices=machine.devices)
  except NotImplementedError as e:  # of jax, about the chips' own grid
    raise ValueError(
      ', '.join(f'mesh.{axis}' for axis in mesh_lib.AXES)
      + f' do not lie on {machine.name}: {e}'
    ) from e
  mesh_lib.check_batch(name, options.batch, mesh, options.accumulate)
  if machine.tpu and config.model.attention == 'auto':
    # `auto` asks for the backend, which here is the CPU that compiles.
    config = config.copy_and_resolve_references()
    config.model.attention = 'splash'
  packed = suites.entry(config).packed
  model = step_lib.model(config, packed and stage.loss == 'answer')
  shapes, shardings, _ = loop._parameters(config, model, mesh)
  tx = optim.make(config.optim, options)
  where = loop._state_shardings(shapes, shardings, stage, tx, mesh)
  trained, frozen = param_paths.split(shapes, stage.trains)
  state = store.abstract(
    step_lib.State(trained, frozen, jax.eval_shape(tx.init, trained)), where
  )
  rows = lambda shape, dtype: jax.ShapeDtypeStruct(
    (options.batch, *shape), dtype, sharding=mesh_lib.batch_sharding(mesh)
  )
  batch = packing.stack([row(config, stage)]).map(
    lambda x: rows(x.shape[1:], x.dtype)
  )
  plan = None
  if stage.loss == 'policy':
    batch = batch, rows((1,), jnp.int32)
  elif options.plan != 'base':
    plan = jax.ShapeDtypeStruct(
      (len(model.layout.optional),),
      jnp.bool_,
      sharding=mesh_lib.replicated(mesh),
    )
  viable = (model.layout.max,) * config.search.max_plans
  run = jax.jit(
    step_lib.train_step(
      loop._loss(
        config, model, stage, viable, most_expensive(config, stage, batch)
      ),
      tx,
      options.accumulate,
    ),
    donate_argnums=0,
    out_shardings=(where, mesh_lib.replicated(mesh)),
  )
  return AbstractStep(run, (state, batch, plan), mesh)


def most_expensive(config, stage, batch) -> tuple:
  """The token reductions of that step whose visual tokens are most."""
  at, steps = loop._reduced_at(config, stage), config[stage.name].steps
  grid = resolve.architecture(config).size.vision.grid
  count, tiles = batch.gather_index.shape[1], batch.tiles.shape[1]

  def visual(texts):
    reductions = [grammar.single(text) for text in texts]
    return sum(
      one.slots(count, tiles, grid) if one and one.early else count
      for one in reductions
    )

  return max(at(0), at(max(steps - 1, 0)), key=visual)


def row(config, stage) -> dict:
  """An empty row of the stage, in the shape that its suite makes them."""
  suite = suites.entry(config)
  vision = resolve.architecture(config).size.vision
  if stage.loss == 'policy':
    return packing.row([], suite.prompt_shape(config, vision))
  return packing.row([], suite.training_shape(config, vision))


def compile_step(paper: AbstractStep, machine: machine_lib.Machine) -> Compiled:
  """Compiles a step and counts it.

  Raises:
    TooBig: the compiler says that it does not fit.
    ValueError: it cannot be compiled for another reason.
  """
  # TPUs: half the time to compile, the same memory but for a few per cent.
  # CPUs: no need for fast machine code.
  options = (
    {'exec_time_optimization_effort': -1.0}
    if machine.tpu
    else {
      'xla_backend_optimization_level': 0,
      'xla_llvm_disable_expensive_passes': True,
    }
  )
  began, cpu = time.monotonic(), time.process_time()
  with mesh_lib.use_mesh(paper.mesh):
    try:
      lowered = paper.run.lower(*paper.args)
    except NotImplementedError as e:
      raise ValueError(
        f'it cannot be lowered for {machine.name}: {str(e).splitlines()[0]}'
      ) from e
    middle = time.monotonic()
    try:
      compiled = lowered.compile(options)
    except jax.errors.JaxRuntimeError as e:
      if re.search(r'RESOURCE_EXHAUSTED.*\bhbm\b', str(e), re.IGNORECASE):
        raise TooBig(str(e)) from e
      raise ValueError(
        f'it cannot be compiled for {machine.name}: {str(e).splitlines()[0]}'
      ) from e
  seconds = dict(
    lower=middle - began,
    compile=time.monotonic() - middle,
    cpu=time.process_time() - cpu,
  )
  memory, text = compiled.memory_analysis(), compiled.as_text()
  shape = dict(paper.mesh.shape)
  return Compiled(
    memory.peak_memory_in_bytes,
    memory.generated_code_size_in_bytes,
    hlo.count(text, shape),
    hlo.count(text, shape, dearer=False),
    seconds,
  )


def _held(tree):
  return sum(
    math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    for x in jax.tree.leaves(tree)
  )

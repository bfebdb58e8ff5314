"""A stage's train step, compiled for devices that need not be there.

It is the step that training.loop runs: preflight only hands it shapes where
the loop has arrays. No checkpoint is read and nothing is computed.
"""

import dataclasses
import math
import re
import time
from typing import Any

import jax
import ml_collections

from visor_jax.preflight import gpus
from visor_jax.preflight import hlo
from visor_jax.preflight import machine as machine_lib
from visor_jax.reduction import grammar
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import program_memory
from visor_jax.training import program as program_lib

# {platform: options of XLA}
OPTIONS: dict[str, dict[str, Any]] = {
  # No need for fast machine code.
  'cpu': {
    'xla_backend_optimization_level': 0,
    'xla_llvm_disable_expensive_passes': True,
  },
  'gpu': gpus.OPTIONS,
  # Half the time to compile, the same memory but for a few per cent.
  'tpu': {'exec_time_optimization_effort': -1.0},
}


# {platform: what model.attention "auto" stands for there}
KERNELS = {'cpu': 'chunked', 'gpu': 'flash', 'tpu': 'splash'}


class TooBig(Exception):
  """The compiler found no room.

  Attributes:
    needed: bytes it would take; only its temporaries where `temporaries`.
    room: bytes there are.
    temporaries: whether `needed` leaves out what is held before the step.
  """

  def __init__(self, text: str):
    numbers = re.findall(r'\b([\d.]+)([KMGT])\b', text)
    self.temporaries = 'temporaries' in text
    self.needed, self.room = (
      float(n) * 2 ** {'K': 10, 'M': 20, 'G': 30, 'T': 40}[unit]
      for n, unit in numbers[:2]
    )
    super().__init__(text.splitlines()[0])

  def temporary_bytes(self, held: int) -> float:
    """Bytes of temporaries, where so many are held before the step."""
    return self.needed if self.temporaries else self.needed - held


@dataclasses.dataclass(frozen=True)
class Compiled:
  """What the compiler says, of one device.

  Attributes:
    peak: bytes that it takes, what is held before the step among them.
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

  @property
  def total(self) -> int:
    """Bytes of a device."""
    return self.peak + self.code


def train_program(
  config: ml_collections.ConfigDict, stage: str, machine: machine_lib.Machine
) -> program_lib.TrainProgram:
  """The program of a training stage on a machine.

  Args:
    config: the whole config.
    stage: name of the stage.
    machine: that it shall run on.

  Raises:
    ValueError: the config does not fit together, or not this machine.
  """
  if config.model.attention == 'auto':
    # It asks for the backend, which here is the CPU that compiles.
    config = config.copy_and_resolve_references()
    config.model.attention = KERNELS[machine.platform]
  try:
    return program_lib.from_config(config, stage, machine.devices)
  except NotImplementedError as e:  # of jax, about the chips' own grid
    raise ValueError(
      ', '.join(f'mesh.{axis}' for axis in mesh_lib.AXES)
      + f' do not lie on {machine.name}: {e}'
    ) from e


def held(program: program_lib.TrainProgram) -> dict[str, int]:
  """Bytes that a device holds before a step begins, by kind."""
  state, examples, plan = program.arguments()
  return dict(
    trained=_bytes(state.trained),
    frozen=_bytes(state.frozen),
    optimizer=_bytes(state.opt),
    batch=_bytes((examples, plan)),
  )


def _bytes(tree: object) -> int:
  """What a device holds of a tree of shapes."""
  return sum(
    math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    for x in jax.tree.leaves(tree)
  )


def most_expensive(program: program_lib.TrainProgram) -> int:
  """The number of a step that has the most visual tokens."""
  _, examples, _ = program.arguments()
  visual, tiles = (
    examples.batch.gather_index.shape[1],
    examples.batch.tiles.shape[1],
  )
  grid = program.model.size.vision.grid

  def tokens_of(step: int) -> int:
    reductions = map(grammar.single, program.reductions(step))
    return sum(one.slots(visual, tiles, grid) for one in reductions)

  last = max(program.options.steps - 1, 0)
  return max((0, last), key=tokens_of)


def compile_step(
  program: program_lib.TrainProgram, machine: machine_lib.Machine
) -> Compiled:
  """Compiles a stage's most expensive step and counts it.

  Raises:
    TooBig: the compiler says that it does not fit.
    ValueError: it cannot be compiled for another reason.
  """
  options = OPTIONS[machine.platform]
  began, cpu = time.monotonic(), time.process_time()
  try:
    lowered = program.lower(most_expensive(program))
  except NotImplementedError as e:
    raise ValueError(
      f'it cannot be lowered for {machine.name}: {str(e).splitlines()[0]}'
    ) from e
  middle = time.monotonic()
  try:
    with mesh_lib.use_mesh(program.mesh):
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
  most, least = hlo.counts(
    compiled.as_text() or '',
    dict(program.mesh.shape),
    [machine.islands.get(d.id, 0) for d in program.mesh.devices.flat],
  )
  memory: Any = compiled.memory_analysis()
  return Compiled(
    program_memory.held(compiled, machine.platform),
    memory.generated_code_size_in_bytes,
    most,
    least,
    seconds,
  )

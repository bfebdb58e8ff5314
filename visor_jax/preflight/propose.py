"""Settings near the asked ones that fit.

An estimate says which to try: what parameters, optimizer and gradients take is
known for every mesh, and the rest is as much a row as the last compiled step
took. Then the nearest one is compiled, and the estimate learns from it.
"""

import dataclasses
import math
from typing import Any

import ml_collections

from visor_jax.preflight import compiler
from visor_jax.preflight import machine as machine_lib
from visor_jax.preflight import param_bytes
from visor_jax.preflight import settings as settings_lib
from visor_jax.runtime import console
from visor_jax.training import program as program_lib


@dataclasses.dataclass(frozen=True)
class Proposal:
  """Settings that fit, or none.

  Attributes:
    changes: the keys to change; None where nothing near fits.
    bytes: of a device, as compiled; None likewise.
    tried: changes that were tried in vain.
  """

  changes: dict[str, Any] | None
  bytes: float | None
  tried: list[dict[str, Any]]


class Estimate:
  """What a device holds under any settings, from the last that were measured.

  Until then only what is known counts: parameters, optimizer, gradients.

  Args:
    params: what parameters take.
  """

  def __init__(self, params: param_bytes.ParamBytes):
    self._params = params
    self._row = 0.0  # bytes

  def learn(self, settings: settings_lib.Settings, temporaries: float) -> None:
    """Takes a measurement in, of bytes beside the step's arguments."""
    trained, _ = self._held(settings)
    rest = temporaries - _gradients(settings) * trained
    self._row = max(0.0, rest) / _rows(settings)

  def __call__(self, settings: settings_lib.Settings) -> float:
    """Bytes."""
    trained, frozen = self._held(settings)
    # Parameters, two moments and gradients, as if all were float32.
    copies = 3 + _gradients(settings)
    return copies * trained + frozen + self._row * _rows(settings)

  def _held(self, settings: settings_lib.Settings) -> tuple[float, float]:
    return self._params.held(settings.mesh)


def _gradients(settings: settings_lib.Settings) -> int:
  """How many are held: the batch's and, where it comes in parts, a part's."""
  return 1 + (settings.accumulate > 1)


def _rows(settings: settings_lib.Settings) -> float:
  """Rows of a device, weighed by what they take.

  A guess, corrected by measuring: tensor parallelism spreads half of a row,
  what is inside of layers, and the sequence axis nearly all; without remat a
  row takes four times as much.
  """
  spread = (0.5 + 0.5 / settings.mesh['tensor']) / settings.mesh['sequence']
  rematerialized = 1 if settings.remat else 4
  return settings.rows * settings.share * spread * rematerialized


def propose(
  config: ml_collections.ConfigDict,
  stage: str,
  machine: machine_lib.Machine,
  measured: float | None = None,
  tries: int = 4,
) -> Proposal:
  """Looks for the nearest settings that fit and compiles them.

  Args:
    config: the whole config, which does not fit.
    stage: name of the stage.
    machine: how much it holds is known.
    measured: bytes of temporaries of the configured step, None where it could
      not be compiled for another reason.
    tries: steps to compile at most.

  Raises:
    ValueError: nobody says how much a device holds.
  """
  if machine.memory is None:
    raise ValueError(f'how much does a device of {machine.name} hold? --memory')
  devices = len(machine.devices)
  params = param_bytes.ParamBytes(config, stage, machine.devices)
  estimate = Estimate(params)
  now = settings_lib.asked(config, stage, devices)
  if measured is not None and now.batch % now.shards == 0:
    estimate.learn(now, measured)
  candidates = settings_lib.near(config, stage, devices, params)
  candidates = [settings for settings in candidates if settings != now]
  tried: list[dict[str, Any]] = []
  while len(tried) < tries:
    fits = (s for s in candidates if estimate(s) <= machine.memory)
    settings = next(fits, None)
    if settings is None:
      break
    candidates.remove(settings)
    changes = settings.changes(config, stage)
    try:
      program = compiler.train_program(
        settings.apply(config, stage), stage, machine
      )
      tried.append(changes)
      with console.heartbeat(f'trying {flags(changes)}'):
        total, temporaries = measure(program, machine)
    except ValueError as e:
      console.log(str(e))
      continue
    if total <= machine.memory:
      return Proposal(changes, total, tried[:-1])
    estimate.learn(settings, temporaries)
  return Proposal(None, None, tried)


def measure(
  program: program_lib.TrainProgram, machine: machine_lib.Machine
) -> tuple[float, float]:
  """Bytes that a step takes in all, and its temporaries."""
  held = sum(compiler.held(program).values())
  try:
    compiled = compiler.compile_step(program, machine)
  except compiler.TooBig as e:
    return math.inf, e.temporary_bytes(held)
  return compiled.total, compiled.total - held


def flags(changes: dict[str, Any]) -> str:
  """Changes as they are typed."""
  return ' '.join(f'--config.{key}={value}' for key, value in changes.items())

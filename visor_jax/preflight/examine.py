"""What a training stage takes of a machine."""

from collections.abc import Sequence
import dataclasses
from typing import Any

import ml_collections

from visor_jax.flops import accounting as accounting_lib
from visor_jax.flops import cost as flops
from visor_jax.preflight import compiler
from visor_jax.preflight import hlo
from visor_jax.preflight import machine as machine_lib
from visor_jax.preflight import propose as propose_lib
from visor_jax.runtime import console
from visor_jax.spec import plan as plans
from visor_jax.training import program as program_lib

# What `examine` returns, for JSON and for report.text.
Report = dict[str, Any]


def examine(
  config: ml_collections.ConfigDict,
  stage: str,
  machine: machine_lib.Machine,
  propose: bool = True,
  same: Sequence[str] = (),
) -> Report:
  """What a training stage takes of a machine.

  Args:
    config: the whole config.
    stage: its name.
    machine: that it shall run on.
    propose: look for settings that fit, where these do not.
    same: names of stages whose step is the same program.

  Returns:
    What report.text prints, for JSON. Bytes and FLOPs are of one device.
  """
  report: Report = dict(
    stage=stage,
    same=same,
    topology=machine.name,
    devices=len(machine.devices),
    mesh=machine_lib.mesh_shape(config, len(machine.devices)),
    batch=config[stage].batch,
    available=machine.memory,
    fits=None,
    reason=None,
  )
  temporaries = None
  try:
    program = compiler.train_program(config, stage, machine)
    held = compiler.held(program)
    report |= dict(held=held, prefill=prefill(program))
    console.log(f'{stage}: compiling for {machine.name}')
    compiled = compiler.compile_step(program, machine)
  except compiler.TooBig as e:
    temporaries = e.temporary_bytes(sum(held.values()))
    report |= dict(fits=False, temporaries=temporaries, reason=str(e))
  except ValueError as e:
    report |= dict(fits=False, reason=str(e))
  else:
    temporaries = compiled.total - sum(held.values())
    report |= _measured(compiled, temporaries - compiled.code, machine)
  if report['fits'] is False and propose and machine.memory:
    proposal = propose_lib.propose(config, stage, machine, temporaries)
    report['proposal'] = dataclasses.asdict(proposal)
  return report


def _measured(
  compiled: compiler.Compiled, temporaries: int, machine: machine_lib.Machine
) -> Report:
  """The part of a report that the compiler has written."""
  return dict(
    temporaries=temporaries,
    code=compiled.code,
    total=compiled.total,
    fits=compiled.total <= machine.memory if machine.memory else None,
    most=_count(compiled.most, machine),
    least=_count(compiled.least, machine),
    seconds=compiled.seconds,
  )


def _count(count: hlo.Count, machine: machine_lib.Machine) -> Report:
  return dict(
    flops=count.flops,
    sent=[
      dict(kind=kind, axes=axes, bytes=size)
      for (kind, axes), size in sorted(count.sent.items())
    ],
    kernels=count.kernels,
    unknown_loops=count.loops,
    seconds_at_peak=machine.flops and count.flops / machine.flops,
  )


def prefill(program: program_lib.TrainProgram) -> dict[str, dict[str, int]]:
  """{plan: {nominal, executed}}: FLOPs of one full row, forward only."""
  _, (batch, _), _ = program.arguments()
  architecture = dataclasses.replace(program.model.architecture, reduction='')
  executed = dataclasses.replace(
    accounting_lib.EXECUTED, chunk=program.model.compute.chunk
  )

  def total(
    plan: plans.Plan | None, accounting: accounting_lib.Accounting
  ) -> int:
    return flops.cost(
      architecture,
      plan,
      batch.gather_index.shape[1],
      batch.tokens.shape[1],
      accounting,
      tiles=batch.tiles.shape[1],
    ).total

  layout = architecture.layout
  return {
    name: dict(
      nominal=total(plan, accounting_lib.NOMINAL),
      executed=total(plan, executed),
    )
    for name, plan in (
      ('base', None),
      ('max', layout.max),
      ('min', layout.min),
    )
  }

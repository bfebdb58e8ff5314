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
from visor_jax.preflight import roofline
from visor_jax.runtime import console
from visor_jax.spec import chips
from visor_jax.spec import plan as plans
from visor_jax.training import program as program_lib

# What `examine` returns, for JSON and for report.text.
Report = dict[str, Any]


def examine(
  config: ml_collections.ConfigDict,
  stage: str,
  machine: machine_lib.Machine,
  same: Sequence[str] = (),
) -> Report:
  """What a training stage takes of a machine.

  Args:
    config: the whole config.
    stage: its name.
    machine: that it shall run on.
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
    setting=machine.memory_setting,
    fits=None,
    reason=None,
    temporaries=None,
  )
  try:
    with console.heartbeat(f'{stage}: compiling for {machine.name}'):
      program = compiler.train_program(config, stage, machine)
      held = compiler.held(program)
      report |= dict(held=held, prefill=prefill(program))
      compiled = compiler.compile_step(program, machine)
  except compiler.TooBig as e:
    temporaries = e.temporary_bytes(sum(held.values()))
    report |= dict(fits=False, temporaries=temporaries, reason=str(e))
  except ValueError as e:
    report |= dict(fits=False, reason=str(e))
  else:
    report |= _measured(compiled, sum(held.values()), machine)
    if machine.chip:
      report |= _times(config, (stage, *same), program, compiled, machine.chip)
  return report


def propose(
  config: ml_collections.ConfigDict,
  report: Report,
  machine: machine_lib.Machine,
) -> None:
  """Adds to the report of what does not fit which settings near it do."""
  proposal = propose_lib.propose(
    config, report['stage'], machine, report['temporaries']
  )
  report['proposal'] = dataclasses.asdict(proposal)


def _measured(
  compiled: compiler.Compiled, held: int, machine: machine_lib.Machine
) -> Report:
  """The part of a report that the compiler has written."""
  return dict(
    temporaries=compiled.peak - held,
    code=compiled.code,
    total=compiled.total,
    fits=compiled.total <= machine.memory if machine.memory else None,
    most=_count(compiled.most),
    least=_count(compiled.least),
    seconds=compiled.seconds,
  )


def _count(count: hlo.Count) -> Report:
  return dict(
    flops=count.flops,
    moved=count.moved,
    sent=[
      dict(kind=kind, axes=axes, bytes=size)
      for (kind, axes), size in sorted(count.sent.items())
    ],
    between=count.between,
    kernels=count.kernels,
    unknown_loops=count.loops,
  )


def _times(
  config: ml_collections.ConfigDict,
  names: Sequence[str],
  program: program_lib.TrainProgram,
  compiled: compiler.Compiled,
  chip: chips.Chip,
) -> Report:
  """How fast a step may be, and with it each of the stages that run it."""
  layout = program.model.layout
  dense = program.options.plan == 'base'
  step = compiler.most_expensive(program)
  most, least = (
    roofline.bound(
      count,
      roofline.useful_flops(program, step, None if dense else plan),
      chip,
    )
    for count, plan in (
      (compiled.most, layout.max),
      (compiled.least, layout.min),
    )
  )
  return dict(
    roofline={
      name: dataclasses.asdict(bound) | dict(seconds=bound.seconds)
      for name, bound in (('most', most), ('least', least))
    },
    stages=[
      dict(
        stage=name,
        plan=config[name].plan,
        steps=config[name].steps,
        seconds=least.towards(most, roofline.share_on(config[name], layout)),
      )
      for name in names
    ],
    chips=program.mesh.size / chip.devices,
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

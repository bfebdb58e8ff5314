"""Will a run fit? Compiles its steps for any devices.

  python -m visor_jax.preflight --topology=v5e:16x16 \
      --config=experiments/llava_ov.py:size=7b,jobs=full
  ... --topology=cpu:256 --memory=80        256 fake devices of 80 GiB
  ... --config.mesh.fsdp=128                any key of config.py, as in main

The devices need not be there. Says for each stage what a device holds, computes
and sends in a step; where it does not fit, which settings near the asked ones
do. TPU topologies need libtpu: pip install 'visor_jax[preflight]'. Exits 0 if
all stages fit, else 1.
"""

import contextlib
import dataclasses
import json
import sys

from absl import flags
from ml_collections import config_flags

from visor_jax import config as config_lib
from visor_jax.flops import accounting as accounting_lib
from visor_jax.flops import cost as flops
from visor_jax.jobs import validate
from visor_jax.preflight import compiler
from visor_jax.preflight import machine as machine_lib
from visor_jax.preflight import propose as propose_lib
from visor_jax.runtime import console
from visor_jax.training import program as program_lib
from visor_jax.training import stages

GIB = machine_lib.GIB


def examine(
  config, name: str, machine: machine_lib.Machine, propose: bool = True, same=()
) -> dict:
  """What a training stage takes of a machine.

  Args:
    config: the whole config.
    name: of the stage.
    machine: of machine.describe.
    propose: look for settings that fit, where these do not.
    same: stages whose step is the same program.

  Returns:
    What `text` prints, for JSON. Bytes and FLOPs are of one device.
  """
  report = dict(
    stage=name,
    same=same,
    topology=machine.name,
    devices=len(machine.devices),
    mesh=machine_lib.shape_of(config, len(machine.devices)),
    batch=config[name].batch,
    available=machine.memory,
    fits=None,
    reason=None,
  )
  temporaries = None
  try:
    program = compiler.train_program(config, name, machine)
    report |= dict(held=compiler.held(program), prefill=prefill(program))
    console.log(f'{name}: compiling for {machine.name}')
    compiled = compiler.compile_step(program, machine)
  except compiler.TooBig as e:
    temporaries = (
      e.needed if e.temporaries else (e.needed - sum(report['held'].values()))
    )
    report |= dict(fits=False, temporaries=temporaries, reason=str(e))
  except ValueError as e:
    report |= dict(fits=False, reason=str(e))
  else:
    total = compiled.peak + compiled.code
    temporaries = total - sum(report['held'].values())
    count = lambda c: dict(
      flops=c.flops,
      sent=[
        dict(kind=kind, axes=axes, bytes=size)
        for (kind, axes), size in sorted(c.sent.items())
      ],
      kernels=c.kernels,
      unknown_loops=c.loops,
      seconds_at_peak=machine.flops and c.flops / machine.flops,
    )
    report |= dict(
      temporaries=temporaries - compiled.code,
      code=compiled.code,
      total=total,
      most=count(compiled.most),
      least=count(compiled.least),
      seconds=compiled.seconds,
    )
    if machine.memory:
      report['fits'] = total <= machine.memory
  if report['fits'] is False and propose and machine.memory:
    report['proposal'] = propose_lib.propose(
      config, name, machine, temporaries, say=console.log
    )
  return report


def prefill(program: program_lib.TrainProgram) -> dict:
  """{plan: {nominal, executed}}: FLOPs of one full row, forward only."""
  _, (batch, _), _ = program.arguments()
  architecture = program.model.architecture
  executed = dataclasses.replace(
    accounting_lib.EXECUTED, chunk=program.model.compute.chunk
  )

  def cost(bits, accounting):
    return flops.cost(
      dataclasses.replace(architecture, reduction=''),
      bits,
      batch.gather_index.shape[1],
      batch.tokens.shape[1],
      accounting,
      tiles=batch.tiles.shape[1],
    ).total

  layout = architecture.layout
  each = {'base': None, 'max': layout.max, 'min': layout.min}
  return {
    plan: dict(
      nominal=cost(bits, accounting_lib.NOMINAL), executed=cost(bits, executed)
    )
    for plan, bits in each.items()
  }


def text(r: dict) -> str:
  """A report for people."""
  mesh = ' x '.join(f'{axis} {n}' for axis, n in r['mesh'].items())
  lines = [
    f'{r["stage"]} on {r["topology"]}: {r["devices"]} devices, mesh '
    f'{mesh}, batch {r["batch"]}'
  ]
  add = lambda label, value, more='': lines.append(
    f'  {label:24}{value:>12.4g}{more}'
  )
  if 'held' in r:
    lines.append('memory of a device, GiB')
    for label, kind in (
      ('parameters that train', 'trained'),
      ('frozen parameters', 'frozen'),
      ('optimizer', 'optimizer'),
      ('batch', 'batch'),
    ):
      add(label, r['held'][kind] / GIB)
    if 'temporaries' in r:
      add(
        'temporaries',
        r['temporaries'] / GIB,
        f', gradients ({r["held"]["trained"] / GIB:.3g}) among them',
      )
  if 'total' in r:
    add('code', r['code'] / GIB)
    of = f' of {r["available"] / GIB:.2f}' if r['available'] else ''
    add('total', r['total'] / GIB, of)
  if 'prefill' in r:
    lines.append('prefill of a full row, TFLOPs')
    lines.append(f'  {"plan":24}{"nominal":>12}{"executed":>12}')
    for plan, c in r['prefill'].items():
      add(plan, c['nominal'] / 1e12, f'{c["executed"] / 1e12:>12.4g}')
  if 'most' in r:
    lines.append('a step on a device')
    for label, c in (('dearest', r['most']), ('cheapest', r['least'])):
      peak = c['seconds_at_peak']
      add(
        f'TFLOPs, {label} plan',
        c['flops'] / 1e12,
        f', {peak:.3g} s at the peak' if peak else '',
      )
    lines.append('sent by a device in a step of the dearest plan, GB')
    for s in r['most']['sent']:
      add(f'{s["kind"]} {s["axes"]}', s['bytes'] / 1e9)
    if r['most']['kernels']:
      lines.append(f'  {r["most"]["kernels"]} calls of kernels are not counted')
    if r['most']['unknown_loops']:
      lines.append(
        f'  {r["most"]["unknown_loops"]} loops of unknown length count once'
      )
    s = r['seconds']
    lines.append(
      f'lowered in {s["lower"]:.0f} s, compiled in '
      f'{s["compile"]:.0f} s; {s["cpu"]:.0f} s of CPU'
    )
  if r['fits'] is None:
    lines.append('fits? say how many GiB a device has: --memory')
  else:
    lines.append('fits' if r['fits'] else f'does not fit: {_reason(r)}')
  if r['same']:
    lines.append(f'and so it is with {", ".join(r["same"])}')
  found = r.get('proposal')
  if found and found['changes']:
    lines.append(
      f'fits with {propose_lib.flags(found["changes"])}: '
      f'{found["bytes"] / GIB:.2f} GiB'
    )
  elif found:
    lines.append(f'nothing near it fits; {len(found["tried"])} tried')
  return '\n'.join(lines)


def _reason(r):
  return r['reason'] or (
    f'{r["total"] / GIB:.2f} GiB, a device has {r["available"] / GIB:.2f}'
  )


def _stages(config):
  """The training stages asked for, one of each kind of step."""
  found = {}
  for name in config_lib.jobs(config):
    if name in config_lib.STAGES:
      stage, options = stages.STAGES[name], config[name]
      found.setdefault(
        (stage.trains, stage.loss, options.plan == 'base', options.batch), []
      ).append(name)
  return list(found.values())


def main(argv=None) -> int:
  """Prints reports; returns the exit status."""
  argv = sys.argv if argv is None else [sys.argv[0], *argv]
  own = flags.FlagValues()
  config = config_flags.DEFINE_config_file(
    'config',
    None,
    'The experiment, a file with get_config.',
    lock_config=True,
    flag_values=own,
    sys_argv=argv,
  )
  topology = flags.DEFINE_string(
    'topology',
    None,
    'v5e:16x16, v5p:4x4x4, v6e:8x8, or cpu:N.',
    flag_values=own,
  )
  devices = flags.DEFINE_integer(
    'devices', None, 'As --topology=cpu:N.', flag_values=own
  )
  memory = flags.DEFINE_float(
    'memory',
    None,
    'GiB of a device, where it is not a TPU that is known.',
    flag_values=own,
  )
  slices = flags.DEFINE_integer(
    'slices',
    1,
    'So many of the TPU topology; only mesh.data crosses them.',
    lower_bound=1,
    flag_values=own,
  )
  propose = flags.DEFINE_bool(
    'propose', True, 'Look for settings that fit.', flag_values=own
  )
  as_json = flags.DEFINE_bool(
    'json', False, 'Print reports as one JSON list.', flag_values=own
  )
  if '--help' in argv:
    print(f'{__doc__}\n{own.get_help()}')
    return 0
  try:
    rest = own(argv)[1:]
    if rest or config.value is None:
      raise ValueError(
        f'unknown arguments: {rest}'
        if rest
        else 'which run? --config=experiments/....py'
      )
    where = topology.value or (devices.value and f'cpu:{devices.value}')
    if not where:
      raise ValueError('which devices? --topology=v5e:16x16, or cpu:N')
    validate.validate(config.value)
    machine_lib.prepare(where)
    machine = machine_lib.describe(where, memory.value, slices.value)
    reports = []
    with contextlib.redirect_stdout(sys.stderr):
      for same in _stages(config.value):
        reports.append(
          examine(config.value, same[0], machine, propose.value, same[1:])
        )
        if not as_json.value:
          print(text(reports[-1]), file=sys.__stdout__)
  except (ValueError, flags.Error) as e:
    print(f'error: {e}', file=sys.stderr)
    return 1
  if as_json.value:
    print(json.dumps(reports))
  return 0 if all(r['fits'] in (True, None) for r in reports) else 1


if __name__ == '__main__':
  sys.exit(main())

"""Will a run fit? Compiles its steps for any devices.

  python -m visor_jax.preflight --topology=v5e:16x16 \
      --config=experiments/llava_ov.py:size=7b,jobs=full
  ... --topology=h100:4x8                   four hosts of eight GPUs
  ... --topology=cpu:256 --memory=80        256 fake devices of 80 GiB
  ... --config.mesh.fsdp=128                any key of config.py, as in main

The devices need not be there. Says for each stage what a device holds, moves,
computes and sends in a step, how long that takes at least, and how many hours
all steps take at a share of that speed; where it does not fit, which settings
near the asked ones do. The compiler for TPUs is in the extra `preflight`, that
for GPUs in `preflight-gpu`. Exits 0 if all stages fit, else 1.
"""

from collections.abc import Sequence
import contextlib
import json
import sys

from absl import flags
import ml_collections
from ml_collections import config_flags

from visor_jax.jobs import order
from visor_jax.jobs import validate
from visor_jax.preflight import examine
from visor_jax.preflight import machine as machine_lib
from visor_jax.preflight import report as report_lib
from visor_jax.training import stages


def alike(config: ml_collections.ConfigDict) -> list[list[str]]:
  """The training stages asked for, those together whose step is the same."""
  steps: dict[tuple, list[str]] = {}
  for name in order.asked(config):
    stage = stages.STAGES.get(name)
    if stage:
      dense = config[name].plan == 'base'
      step = (stage.trains, stage.loss, stage.feed, dense, config[name].batch)
      steps.setdefault(step, []).append(name)
  return list(steps.values())


def main(argv: Sequence[str] | None = None) -> int:
  """Prints reports; returns the exit status."""
  argv = sys.argv if argv is None else [sys.argv[0], *argv]
  values = flags.FlagValues()
  config = config_flags.DEFINE_config_file(
    'config',
    None,
    'The experiment, a file with get_config.',
    lock_config=True,
    flag_values=values,
    sys_argv=argv,
  )
  topology = flags.DEFINE_string(
    'topology',
    None,
    'Chip and shape: ' + machine_lib.EXAMPLES,
    flag_values=values,
  )
  devices = flags.DEFINE_integer(
    'devices',
    None,
    'As --topology=cpu:N.',
    lower_bound=1,
    flag_values=values,
  )
  memory = flags.DEFINE_float(
    'memory',
    None,
    'GiB of a device, instead of what is known of the chip.',
    flag_values=values,
  )
  slices = flags.DEFINE_integer(
    'slices',
    1,
    'So many of the TPU topology; only mesh.data crosses them.',
    lower_bound=1,
    flag_values=values,
  )
  propose = flags.DEFINE_bool(
    'propose', True, 'Look for settings that fit.', flag_values=values
  )
  share = flags.DEFINE_float(
    'share',
    0.5,
    'Of the roofline, for the hours of a stage.',
    flag_values=values,
  )
  as_json = flags.DEFINE_bool(
    'json', False, 'Print reports as one JSON list.', flag_values=values
  )
  if '--help' in argv:
    print(f'{__doc__}\n{values.get_help()}')
    return 0
  try:
    unknown = values(argv)[1:]
    if unknown:
      raise ValueError(f'unknown arguments: {unknown}')
    if config.value is None:
      raise ValueError('which run? --config=experiments/....py')
    if not 0.01 <= share.value <= 1:  # false for NaN
      raise ValueError(f'--share is {share.value:g}: expected 0.01 to 1')
    if topology.value and devices.value:
      raise ValueError('give --topology or --devices, one of them')
    where = topology.value or (devices.value and f'cpu:{devices.value}')
    if not where:
      raise ValueError(f'which devices? --topology={machine_lib.EXAMPLES}')
    validate.validate(config.value)
    machine_lib.prepare(where)
    machine = machine_lib.describe(where, memory.value, slices.value)
    reports: list[examine.Report] = []
    out = sys.stdout

    def show(text: str) -> None:
      if text and not as_json.value:
        print(text, file=out, flush=True)

    with contextlib.redirect_stdout(sys.stderr):
      for first, *same in alike(config.value):
        report = examine.examine(config.value, first, machine, same)
        reports.append(report)
        show(report_lib.text(report))
        if report['fits'] is False and propose.value and machine.memory:
          examine.propose(config.value, report, machine)
          show(report_lib.proposal(report))
      show(report_lib.hours(reports, share.value))
  except (ValueError, flags.Error) as e:
    print(f'error: {e}', file=sys.stderr)
    return 1
  if as_json.value:
    print(json.dumps(reports))
  return 0 if all(report['fits'] in (True, None) for report in reports) else 1


if __name__ == '__main__':
  sys.exit(main())

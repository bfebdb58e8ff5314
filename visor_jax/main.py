"""Trains, evaluates and reports: the jobs of a config.

  python -m visor_jax.main --config=FILE --workdir=WORKDIR

  --config=experiments/quickstart.py                   all jobs, in order
  --config=experiments/quickstart.py:jobs=universal   one of them
  --config.seed=3                                      any key of config.py

Started again with the same command, a run that was cut off goes on where it
was. SIGTERM and Ctrl-C end it with code 75 as soon as its step is saved, or its
chunk of answers written; a second Ctrl-C kills. Code 1 means that it refused:
trying again would change nothing; 70 that something failed which may go better
next time. Jobs: connector, base, cross, full, search, universal, label, policy,
eval, report.
"""

from visor_jax.runtime import large_pages
from visor_jax.runtime import paths
from visor_jax.runtime import preempt

if __name__ == '__main__':  # from here on: what comes below takes seconds
  large_pages.use()
  preempt.install_handler()

from collections.abc import Sequence
import faulthandler
import os
import pathlib
import sys
import traceback

from absl import flags
from absl import logging
import ml_collections
from ml_collections import config_flags

from visor_jax import config as config_lib
from visor_jax.jobs import table
from visor_jax.runtime import command
from visor_jax.runtime import compilation_cache
from visor_jax.runtime import environment
from visor_jax.runtime import errors
from visor_jax.runtime import identity
from visor_jax.runtime import retry
from visor_jax.runtime import startup
from visor_jax.runtime import xla_flags

TEXTS = {
  'workdir': 'Folder of the run: checkpoints, answers, report.',
  'checkpoint': 'A workdir or an imported checkpoint to evaluate; short for '
  '--config.eval.checkpoint.',
  'coordinator': 'host:port of process 0, where no cluster says it; also '
  'JAX_COORDINATOR_ADDRESS.',
}
NUMBERS = {
  'processes': (None, 'How many there are; also JAX_NUM_PROCESSES.'),
  'process': (None, 'Which this is, from 0; also JAX_PROCESS_ID.'),
  'patience': (300, 'Seconds to wait for the other processes at the start.'),
}


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the jobs that are asked for; returns the exit code."""
  argv = sys.argv if argv is None else [sys.argv[0], *argv]
  values = _flags(argv)
  if not {'--help', '-h'}.isdisjoint(argv):
    print(f'{__doc__}\n{values.get_help()}\nKeys and their defaults:\n')
    for key, value in identity.flatten(config_lib.default()).items():
      print(f'  --config.{key}={value!r}')
    return 0
  try:
    unknown = values(argv)[1:]
    if unknown:
      raise ValueError(f'unknown arguments: {" ".join(unknown)}')
    for name in ('config', 'workdir'):
      if not values[name].value:
        raise ValueError(f'--{name} is missing; see --help')
    config = values.config
    config.lock()  # raises where its file could not be read
    if values.checkpoint and config.eval.checkpoint:
      raise ValueError(
        'give --checkpoint or --config.eval.checkpoint, one of them'
      )
    config.eval.checkpoint = values.checkpoint or config.eval.checkpoint
    workdir = paths.parse(values.workdir, '--workdir')
    if values.patience < 1:
      raise ValueError(f'--patience={values.patience}: expected at least 1')
  except Exception as e:  # of flags, or of the file that --config names
    command.tell(_unknown_key(argv) or command.of_config(e, argv))
    return command.DIED if retry.passing(e) else command.REFUSED
  faulthandler.enable()
  logging.set_verbosity(logging.WARNING)  # orbax tells every detail of a save
  logging.use_absl_handler()
  try:
    return command.run(
      lambda: _run(config, values, workdir),
      (errors.Refusal, errors.Passing, TimeoutError),
    )
  except Exception:  # a disk, a peer that is gone, a bug
    traceback.print_exc()
    return command.DIED


def _run(
  config: ml_collections.ConfigDict,
  values: flags.FlagValues,
  workdir: pathlib.Path,
) -> int:
  """Runs the jobs, beside the other processes if there are any."""
  xla_flags.set_overlap_flags(os.environ)
  with errors.refusals():
    process = _find_process(values)
  startup.join(process, config, values.patience)
  if config.compilation_cache:
    compilation_cache.use(
      (paths.cache() if paths.in_bucket(workdir) else workdir)
      / config.compilation_cache
    )
  table.run_jobs(config, workdir)
  return 0


def _flags(argv: Sequence[str]) -> flags.FlagValues:
  """What may be given, `--config.KEY=VALUE` among it."""
  values = flags.FlagValues()
  config_flags.DEFINE_config_file(
    'config',
    None,
    'The experiment, a file with get_config.',
    lock_config=True,
    flag_values=values,
    sys_argv=argv,
  )
  for name, text in TEXTS.items():
    flags.DEFINE_string(name, None, text, flag_values=values)
  for name, (default, text) in NUMBERS.items():
    flags.DEFINE_integer(name, default, text, flag_values=values)
  return values


def _unknown_key(argv: Sequence[str]) -> str:
  """Says which --config.KEY is none, and what there is beside it; or ''."""
  for argument in argv:
    flag, equals, _ = argument.lstrip('-').partition('=')
    group, where, *names = config_lib.default(), *flag.split('.')
    if not equals or where != 'config':
      continue
    for name in names:
      if not isinstance(group, ml_collections.ConfigDict) or name not in group:
        there = ', '.join(getattr(group, 'keys', list)())
        return f'--{flag}: no such key; {where} has {there or "none below it"}'
      group, where = group[name], f'{where}.{name}'
  return ''


def _find_process(values: flags.FlagValues) -> environment.Process:
  """Which of how many processes this is, by flags or by the environment."""
  names = ('coordinator', 'processes', 'process')
  given = {
    variable: str(values[name].value)
    for variable, name in zip(environment.EXPLICIT, names)
    if values[name].value is not None
  }
  return environment.find_process(os.environ | given, values.patience)


if __name__ == '__main__':
  sys.exit(main())

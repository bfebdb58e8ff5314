#!/usr/bin/env python3
"""VISOR beside the rivals on the built-in suite, in one page.

  launch/rivals.py --workdir=OUT

Runs experiments/rivals.py, or with --experiment=pages that file, once for every
name in --runs, each in OUT/NAME, and joins their results in
OUT/report/index.html. Started again it goes on where it was. Keys of the config
may be set as for visor_jax.main, after --. Exit code: 0 when all runs are done.
"""

import argparse
import concurrent.futures
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run from anywhere, installed or not

from launch import together  # noqa: E402
from visor_jax.runtime import command  # noqa: E402


def main(argv=None) -> int:
  """Runs what is not done yet, then writes the page."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  add = parser.add_argument
  add('--workdir', type=command.local_path, required=True, metavar='OUT')
  add(
    '--experiment',
    choices=('rivals', 'pages'),
    default='rivals',
    help='default: %(default)s',
  )
  add('--runs', default='visor,m3,dense', help='default: %(default)s')
  add(
    '--share',
    type=float,
    default=1.0,
    help='of the steps, of every run alike; default: all',
  )
  add('--jobs', type=int, default=2, help='at a time; default: %(default)s')
  add('keys', nargs='*', help='--config.KEY=VALUE, after --')
  args = parser.parse_args(argv)
  out, jobs = args.workdir.absolute(), together.Jobs()
  names = args.runs.split(',')

  def one(name) -> bool:
    if together.is_done(name, out / name):
      return True
    line = [
      sys.executable,
      '-m',
      'visor_jax.main',
      f'--config={ROOT}/experiments/{args.experiment}.py'
      f':run={name},share={args.share}',
      f'--workdir={out / name}',
      *args.keys,
    ]
    return together.run(name, line, jobs, out / f'{name}.log')

  jobs.pass_on_signals()
  out.mkdir(parents=True, exist_ok=True)
  with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
    good = list(pool.map(one, names))
  if jobs.stopped_by:
    return 128 + jobs.stopped_by
  together.report(out, [out / name for name in names])
  return 0 if all(good) else 1


if __name__ == '__main__':
  sys.exit(main())

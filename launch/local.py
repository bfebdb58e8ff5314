#!/usr/bin/env python3
"""Runs several processes on this machine as one job, over loopback.

  launch/local.py --processes=2 --devices=4 -- --config=FILE --workdir=DIR

What follows `--` goes to `python -m visor_jax.main` in every process. They run
on CPU devices, to rehearse a cluster; a machine with several accelerators needs
no launcher, one process drives them all.

Process 0 is shown, the others go to LOGS/process-N.log. When a process dies,
all are ended, whatever they left behind with them, and started again: the run
goes on from its last checkpoint. SIGTERM and Ctrl-C are passed on, upon which a
run saves and leaves; a second one kills. If this launcher is killed, all that
it started goes with it. Exit code: 0 when the job is done, 1
when it was refused by all processes alike (nothing would change by trying
again), else that of the process that died first.
"""

import argparse
import os
import pathlib
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run from anywhere, installed or not

from launch import orphans  # noqa: E402
from launch import workdirs  # noqa: E402

# Processes find the package from anywhere, installed or not.
SEARCH = os.pathsep.join(
  filter(None, (str(ROOT), os.environ.get('PYTHONPATH')))
)
COMMAND = [sys.executable, '-m', 'visor_jax.main']
GRACE = 10  # seconds in which the others may end by themselves


def main(argv=None) -> int:
  """Runs the job; returns its exit code."""
  argv = sys.argv[1:] if argv is None else argv
  cut = argv.index('--') if '--' in argv else len(argv)
  args, flags = _parse(argv[:cut]), argv[cut + 1 :]
  workdir, command = workdirs.of(flags), [*COMMAND, *flags]
  if fault := workdirs.address_fault(workdir):
    print(f'error: {fault}', file=sys.stderr)
    return 2
  if args.dry_run:
    for index in range(args.processes):
      env = _env(args, index, 'PORT', 'WORD')
      print(shlex.join([*(f'{k}={v}' for k, v in env.items()), *command]))
    return 0
  logs = args.logs or _logs(workdir)
  logs.mkdir(parents=True, exist_ok=True)
  asked = []  # signals to stop
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: asked.append(number))
  for attempt in range(args.restarts + 1):
    codes = _attempt(args, command, logs, attempt, asked)
    code = next((c for c in codes.values() if c), 0)
    if not code or asked or set(codes.values()) == {1}:
      break
    who = next(i for i, c in codes.items() if c)
    left = args.restarts - attempt
    _say(
      f'process {who} died ({_words(code)}), see {logs}; '
      + (
        f'starting again, {left} more times at most'
        if left
        else 'that was too often'
      )
    )
  return code if code >= 0 else 128 - code


def _parse(argv):
  parser = argparse.ArgumentParser(
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    usage='launch/local.py [options] -- --config=FILE --workdir=DIR ...',
  )
  add = parser.add_argument
  add('--processes', type=int, default=2, metavar='N', help='default 2')
  add(
    '--devices',
    type=int,
    default=4,
    metavar='N',
    help='CPU devices of each process, default 4',
  )
  add(
    '--restarts',
    type=int,
    default=3,
    metavar='N',
    help='how often to start again, default 3',
  )
  add(
    '--logs',
    type=pathlib.Path,
    metavar='DIR',
    help='of processes but the first; default WORKDIR/logs, or a new folder '
    'where that is in a bucket',
  )
  add('--dry-run', action='store_true', help='print what would run')
  args = parser.parse_args(argv)
  for name, least in (('processes', 1), ('devices', 1), ('restarts', 0)):
    if getattr(args, name) < least:
      parser.error(f'--{name}={getattr(args, name)}: expected at least {least}')
  return args


def _logs(workdir):
  """A folder for what is not shown; a new one where the workdir is none."""
  if not workdir or '://' in workdir:
    return pathlib.Path(tempfile.mkdtemp(prefix='visor_jax-'))
  return pathlib.Path(workdir) / 'logs'


def _env(args, index, port, job):
  """What is special in the environment of a process."""
  return {
    'JAX_COORDINATOR_ADDRESS': f'127.0.0.1:{port}',
    'JAX_NUM_PROCESSES': str(args.processes),
    'JAX_PROCESS_ID': str(index),
    'JAX_PLATFORMS': 'cpu',
    'JAX_NUM_CPU_DEVICES': str(args.devices),
    'VISOR_JOB': job,
  }


def _attempt(args, command, logs, attempt, asked):
  """{process: exit code} in the order in which they ended by themselves."""
  with socket.create_server(('127.0.0.1', 0)) as free:
    port = free.getsockname()[1]
  job = secrets.token_hex(8)
  running, codes, watches = {}, {}, []
  try:
    for index in range(args.processes):
      out = None
      if index:
        out = open(logs / f'process-{index}.log', 'a' if attempt else 'w')
        print(f'--- start {attempt + 1}', file=out, flush=True)
      # A session of its own: its workers can be ended with it.
      running[index] = subprocess.Popen(
        command,
        env=os.environ | {'PYTHONPATH': SEARCH} | _env(args, index, port, job),
        stdout=out,
        stderr=out and subprocess.STDOUT,
        start_new_session=True,
      )
      watches.append(orphans.Watch(running[index]))
      if out:
        out.close()
    passed_on, until = 0, None
    while running:
      for index, process in list(running.items()):
        if process.poll() is not None:
          codes[index] = running.pop(index).returncode
          orphans.kill(process)
          if codes[index] and until is None:
            until = time.monotonic() + GRACE
      for number in asked[passed_on:]:
        passed_on += 1
        _say(
          f'{signal.Signals(number).name}: '
          + ('passed on' if passed_on == 1 else 'killing')
        )
        for process in running.values():
          process.terminate() if passed_on == 1 else orphans.kill(process)
      if until and time.monotonic() > until and not asked:
        break
      time.sleep(0.1)
  finally:
    for index, process in running.items():
      orphans.kill(process)
      process.wait()
      codes.setdefault(index, -signal.SIGKILL)
    for watch in watches:
      watch.close()
  return codes


def _words(code):
  return f'signal {signal.Signals(-code).name}' if code < 0 else f'code {code}'


def _say(text):
  print(f'[local] {text}', flush=True)


if __name__ == '__main__':
  sys.exit(main())

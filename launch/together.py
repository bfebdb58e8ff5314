"""Jobs that a launcher runs beside each other, and the page they end in."""

import contextlib
import os
import pathlib
import shlex
import signal
import subprocess
import sys

from visor_jax.report import page
from visor_jax.report import sentences
from visor_jax.report import tables
from visor_jax.runtime import console
from visor_jax.runtime import files as files_lib

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Large pages: less time on CPU, see docs/performance.md.
ENV = {'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=1'}
# Jobs find the package from anywhere, installed or not.
SEARCH = os.pathsep.join(
  filter(None, (str(ROOT), os.environ.get('PYTHONPATH')))
)


def run(
  what: str, line, running: list, output: pathlib.Path | None = None
) -> bool:
  """Runs a command; whether it went well.

  Args:
    what: it is, for the console.
    line: the command.
    running: those that run now, see `pass_on`.
    output: a file that what it prints is added to; None for the console.
  """
  console.log(f'{what}: {shlex.join(line)}')
  with output.open('a') if output else contextlib.nullcontext() as to:
    process = subprocess.Popen(
      line,
      stdout=to,
      stderr=to,
      env=ENV | os.environ | {'PYTHONPATH': SEARCH},
    )
    running.append(process)
    code = process.wait()
    running.remove(process)
  console.log(
    f'{what}: '
    + (
      'done'
      if code == 0
      else f'ended with code {code}' + (f', see {output}' if output else '')
    )
  )
  return code == 0


def pass_on(running: list) -> None:
  """Sends SIGTERM and SIGINT on to those that run when it comes, and ends."""

  def stop(number, _):
    for process in list(running):  # threads take out what ends
      process.send_signal(number)
    sys.exit(128 + number)

  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, stop)


def report(out: pathlib.Path, folders) -> None:
  """One page of the results in folders, where there are any."""
  files = [folder / 'results.jsonl' for folder in folders]
  text = ''.join(f.read_text() for f in files if f.exists())
  if text:
    files_lib.write_atomic(out / 'results.jsonl', text)
    rows = files_lib.read_jsonl(out / 'results.jsonl')
    said = tables.summary(rows), sentences.rivals(rows)
    print('\n\n'.join(filter(None, said)))
    console.log(f'report: {page.write(out, out / "report")}')

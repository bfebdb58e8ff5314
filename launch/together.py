"""Jobs that a launcher runs beside each other, and the page they end in."""

from collections.abc import Sequence
import contextlib
import os
import pathlib
import shlex
import signal
import subprocess
from typing import IO

from launch import orphans
from visor_jax.report import page
from visor_jax.report import sentences
from visor_jax.report import tables
from visor_jax.runtime import checksums
from visor_jax.runtime import console
from visor_jax.runtime import files as files_lib
from visor_jax.spec import workdir as workdir_lib

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Jobs find the package from anywhere, installed or not.
SEARCH = os.pathsep.join(
  filter(None, (str(ROOT), os.environ.get('PYTHONPATH')))
)


class Jobs:
  """The jobs that run now; they end when they are told, or with this process.

  SIGTERM and Ctrl-C are passed on, upon which a run saves and leaves, and no
  other is started; a second one kills.

  Attributes:
    stopped_by: the first signal that came; None while there is none.
  """

  def __init__(self):
    self.stopped_by: int | None = None
    self._running: list[subprocess.Popen] = []

  def pass_on_signals(self) -> None:
    """From now on signals are passed on."""
    for number in (signal.SIGTERM, signal.SIGINT):
      signal.signal(number, self._stop)

  def run(self, line: Sequence[str], to: IO[str] | None) -> int | None:
    """The exit code of a command; None where it was not started any more.

    Args:
      line: the command.
      to: a file for what it prints; None for the console.
    """
    if self.stopped_by:
      return None
    process = subprocess.Popen(
      line,
      stdout=to,
      stderr=to,
      env=os.environ | {'PYTHONPATH': SEARCH},
      start_new_session=True,
    )
    self._running.append(process)
    with contextlib.closing(orphans.Watch(process)):
      if self.stopped_by:  # it came in this moment
        process.terminate()
      code = process.wait()
    self._running.remove(process)
    return code

  def _stop(self, number: int, _: object) -> None:
    again = self.stopped_by is not None
    self.stopped_by = self.stopped_by or number
    for process in list(self._running):  # threads take out what ends
      if again:
        orphans.kill(process)
      else:
        process.terminate()


def run(
  what: str,
  line: Sequence[str],
  jobs: Jobs,
  output: pathlib.Path | None = None,
) -> bool:
  """Runs a command; whether it went well.

  Args:
    what: name of the job, for the console.
    line: the command.
    jobs: those that run beside it.
    output: a file that what it prints is added to; None for the console.
  """
  console.log(f'{what}: {shlex.join(line)}')
  with output.open('a') if output else contextlib.nullcontext() as to:
    code = jobs.run(line, to)
  if code is None:
    console.log(f'{what}: not started')
    return False
  console.log(
    f'{what}: '
    + (
      'done'
      if code == 0
      else f'ended with code {code}' + (f', see {output}' if output else '')
    )
  )
  return code == 0


def is_done(name: str, folder: pathlib.Path) -> bool:
  """Whether a run has left its results, which the console says then."""
  path = workdir_lib.Workdir(folder).results
  if checksums.intact(path, lambda: checksums.read_text(path)) is None:
    return False
  console.log(f'{name}: done before')
  return True


def report(out: pathlib.Path, folders: Sequence[pathlib.Path]) -> None:
  """One page of the results in folders, where there are any."""
  files = [workdir_lib.Workdir(folder).results for folder in folders]
  text = ''.join(checksums.read_text(f) for f in files if f.exists())
  if not text:
    return
  joined = workdir_lib.Workdir(out)
  checksums.write(joined.results, text)
  rows = files_lib.read_jsonl(joined.results)
  summaries = tables.summary(rows), sentences.rivals(rows)
  print('\n\n'.join(filter(None, summaries)))
  console.log(f'report: {page.write(out, joined.report)}')

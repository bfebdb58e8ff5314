"""The supervisor: what dies is started again, and leaves nothing behind.

The processes are a few lines of Python; tests/launch/pair_test.py has real
ones.
"""

import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def launch(tmp_path):
  """Starts launch/local.py on a script; `me` is the number of the process."""

  def run(script, *options):
    file = tmp_path / 'script.py'
    file.write_text(
      'import os, pathlib, signal, subprocess, sys, time\n'
      'me = int(os.environ["JAX_PROCESS_ID"])\n'
      f'here = pathlib.Path({str(tmp_path)!r})\n{script}'
    )
    start = (
      'import sys; from launch import local; '
      f'local.COMMAND = [sys.executable, {str(file)!r}]; '
      'local.GRACE = 1; sys.exit(local.main())'
    )
    return subprocess.Popen(
      [
        sys.executable,
        '-c',
        start,
        *options,
        f'--logs={tmp_path}',
        '--',
        '--config=x',
      ],
      cwd=ROOT,
      text=True,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
    )

  return run


def ends(process):
  out, _ = process.communicate(timeout=300)
  return process.returncode, out


def gone(pid):
  """Within a moment."""
  for _ in range(50):
    try:
      os.kill(pid, 0)
    except ProcessLookupError:
      return True
    time.sleep(0.1)
  return False


def test_the_first_is_shown_and_the_others_are_kept(launch, tmp_path):
  code, out = ends(
    launch(
      'print("I am", me, sys.argv[1:], os.environ["JAX_NUM_CPU_DEVICES"])',
      '--processes=3',
      '--devices=5',
    )
  )
  assert (code, out) == (0, "I am 0 ['--config=x'] 5\n")
  for index in (1, 2):
    text = (tmp_path / f'process-{index}.log').read_text()
    assert f"I am {index} ['--config=x'] 5" in text


@pytest.mark.parametrize('victim', [0, 1])
def test_all_start_again_when_one_died(launch, tmp_path, victim):
  """And the workers that it left behind are ended: they hold files open."""
  code, out = ends(
    launch(f"""
(here / f"{{me}}-{{time.time_ns()}}").touch()
if len([*here.glob(f"{{me}}-*")]) == 1:
  while me == {victim} and not [*here.glob(f"{{1 - me}}-*")]:
    time.sleep(.01)
  if me == {victim}:
    worker = subprocess.Popen(["sleep", "1000"])
    (here / "died").write_text(str(worker.pid))
    os.kill(os.getpid(), signal.SIGKILL)
  time.sleep(1000)
""")
  )
  assert code == 0
  assert f'process {victim} died (signal SIGKILL)' in out and '3 more' in out
  for index in range(2):
    assert len([*tmp_path.glob(f'{index}-*')]) == 2
  assert gone(int((tmp_path / 'died').read_text()))


def test_what_all_refuse_is_not_tried_again(launch, tmp_path):
  """A wrong key does not become right."""
  code, out = ends(launch('(here / f"{me}{time.time_ns()}").touch(); exit(1)'))
  assert code == 1 and 'starting again' not in out
  assert len([*tmp_path.glob('0*')]) == 1


def test_what_one_refuses_is_tried_again(launch):
  """Its disk, say; the others would wait for ever."""
  code, out = ends(
    launch('exit(1) if me else time.sleep(1000)', '--restarts=1')
  )
  assert code == 1 and 'process 1 died (code 1)' in out
  assert 'that was too often' in out


def test_it_gives_up_at_the_limit(launch, tmp_path):
  code, out = ends(
    launch(
      '(here / f"{me}-{time.time_ns()}").touch(); os.abort()', '--restarts=2'
    )
  )
  assert code == 128 + signal.SIGABRT and 'that was too often' in out
  assert len([*tmp_path.glob('0-*')]) == 3


@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_the_code_kept(launch, how):
  """The run saves, leaves with a code of its own and is not started again."""
  job = launch("""
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(.5), sys.exit(75)))
print("ready", flush=True)
time.sleep(1000)
""")
  assert job.stdout.readline() == 'ready\n'
  time.sleep(0.5)  # the other, too
  job.send_signal(how)
  code, out = ends(job)
  assert code == 75 and 'passed on' in out and 'again' not in out


def test_a_second_signal_kills(launch):
  job = launch("""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(1000)
""")
  assert job.stdout.readline() == 'ready\n'
  time.sleep(0.5)
  job.terminate()
  assert 'passed on' in job.stdout.readline()
  job.terminate()
  assert ends(job)[0] == 128 + signal.SIGKILL


def test_a_launcher_that_is_killed_leaves_nothing_behind(launch, tmp_path):
  """Neither processes nor what they started: all hold devices and files."""
  job = launch("""
worker = subprocess.Popen(["sleep", "1000"])
(here / f"{me}.pids").write_text(f"{os.getpid()} {worker.pid}")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(1000)
""")
  files = [tmp_path / f'{index}.pids' for index in range(2)]
  while not all(f.exists() and f.read_text() for f in files):
    time.sleep(0.05)
  job.kill()
  job.wait()
  for file in files:
    assert all(gone(int(pid)) for pid in file.read_text().split())


def test_paths_are_those_of_where_it_was_started(tmp_path):
  """And the package is found there, installed or not."""
  code = (
    f'import sys; sys.path.insert(0, {str(ROOT)!r}); from launch import local; '
    'local.COMMAND = [sys.executable, "-c", '
    '"import os, visor_jax; print(os.getcwd(), visor_jax.__file__)"]; '
    'sys.exit(local.main())'
  )
  done = subprocess.run(
    [sys.executable, '-c', code, '--processes=1', '--', '--workdir=run'],
    cwd=tmp_path,
    text=True,
    stdout=subprocess.PIPE,
  )
  assert done.returncode == 0
  assert f'{tmp_path} {ROOT}/visor_jax/__init__.py' in done.stdout


def test_a_dry_run_says_what_would_run():
  done = subprocess.run(
    [
      sys.executable,
      ROOT / 'launch/local.py',
      '--processes=2',
      '--dry-run',
      '--',
      '--config=a b',
    ],
    text=True,
    stdout=subprocess.PIPE,
  )
  lines = [shlex.split(line) for line in done.stdout.splitlines()]
  assert done.returncode == 0 and len(lines) == 2
  for index, line in enumerate(lines):
    assert f'JAX_PROCESS_ID={index}' in line and line[-1] == '--config=a b'
    assert line[-3:-1] == ['-m', 'visor_jax.main']


@pytest.mark.parametrize(
  'flag', ['--processes=0', '--processes=-1', '--devices=0', '--restarts=-1']
)
def test_numbers_that_start_nothing_are_refused(flag):
  done = subprocess.run(
    [sys.executable, ROOT / 'launch/local.py', flag, '--', '--config=x'],
    text=True,
    capture_output=True,
  )
  assert done.returncode == 2 and flag in done.stderr

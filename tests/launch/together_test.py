"""Jobs beside each other end when their launcher is told, or is killed."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
LAUNCHER = """
import concurrent.futures, sys
from launch import together
jobs = together.Jobs()
jobs.pass_on_signals()
job = [sys.executable, '-c', sys.argv[1]]
with concurrent.futures.ThreadPoolExecutor(1) as pool:
  print([*pool.map(lambda name: together.run(name, job, jobs), 'ab')])
sys.exit(128 + jobs.stopped_by)
"""
JOB = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(75)))
print('pid', os.getpid(), flush=True)
time.sleep(1000)
"""


@pytest.fixture
def launcher():
  """A launcher of two jobs, of which the first one runs; and its pid."""
  process = subprocess.Popen(
    [sys.executable, '-c', LAUNCHER, JOB],
    cwd=ROOT,
    text=True,
    stdout=subprocess.PIPE,
  )
  for line in process.stdout:
    if line.startswith('pid '):
      return process, int(line.split()[1])
  raise AssertionError


@pytest.mark.parametrize('how', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_no_other_job_starts(launcher, how):
  process, _ = launcher
  process.send_signal(how)
  out, _ = process.communicate(timeout=60)
  assert process.returncode == 128 + how
  assert 'saved' in out and 'a: ended with code 75' in out
  assert 'b: not started' in out and out.endswith('[False, False]\n')


def test_a_launcher_that_is_killed_leaves_nothing_behind(launcher):
  process, job = launcher
  process.kill()
  process.communicate()
  for _ in range(100):
    try:
      os.kill(job, 0)
    except ProcessLookupError:
      return
    time.sleep(0.05)
  raise AssertionError(f'process {job} runs on')

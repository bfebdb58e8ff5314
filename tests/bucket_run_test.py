"""Whole runs in buckets: killed, resumed, the same as on a disk."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests import buckets
from tests import runs
from visor_jax.runtime import paths

root = buckets.root
ROOT = pathlib.Path(__file__).parents[1]
TINY = pathlib.Path(__file__).with_name('tiny.py')

# A lease outlives who is killed; here for seconds, or each kill costs a minute.
MAIN = """
import sys
from visor_jax.runtime import lease
lease.BEAT, lease.SILENT, lease._POLL = 0.5, 3, 0.2
from visor_jax import main
sys.exit(main.main(sys.argv[1:]))
"""


def start(workdir):
  return subprocess.Popen(
    [
      sys.executable,
      '-c',
      MAIN,
      f'--config={TINY}:jobs=base',
      f'--workdir={workdir}',
    ],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def download(address, folder):
  """A copy of a workdir on this machine."""
  for file in paths.walk(paths.parse(address)):
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((paths.parse(address) / file).read_bytes())
  return folder


@pytest.mark.drill
def test_killed_at_random_moments_it_ends_as_on_a_disk(root, tmp_path):
  """$VISOR_KILLS times, then it is left alone."""
  alone = start(tmp_path / 'alone')
  out, _ = alone.communicate()
  assert alone.returncode == 0, out
  rng, kills, code = np.random.default_rng(0), 0, None
  while code != 0:
    run, lines = start(root), int(rng.integers(1, 25))
    printed = [line for line, _ in zip(run.stdout, range(lines))]
    time.sleep(rng.uniform(0, 0.5))
    if kills < int(os.environ.get('VISOR_KILLS', 20)) and run.poll() is None:
      run.kill()
      kills += 1
    out, _ = run.communicate()
    code = run.returncode
    assert code in (0, -signal.SIGKILL), ''.join(printed) + out
  there = download(root, tmp_path / 'there')
  runs.same(runs.final(tmp_path / 'alone', 'base'), runs.final(there, 'base'))
  steps = [
    json.loads(l)['step'] for l in open(there / 'base' / 'metrics.jsonl')
  ]
  assert steps == sorted(set(steps)) and steps[-1] == 12
  print(f'{kills} kills: nothing lost', flush=True)


@pytest.mark.drill
def test_two_processes_in_a_bucket_are_killed_and_end_as_on_a_disk(
  root, tmp_path
):
  """`kill -9` of either process, three times; the supervisor starts again.

  A lease outlives who is killed by a minute, so each kill costs one.
  """

  def pair(workdir):
    command = [sys.executable, ROOT / 'launch/local.py', '--processes=2']
    main = [f'--config={TINY}:jobs=base', f'--workdir={workdir}']
    return subprocess.Popen(
      [*map(str, command), '--devices=1', '--restarts=6', '--', *main],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      cwd=ROOT,
    )

  alone = pair(tmp_path / 'alone')
  out, _ = alone.communicate()
  assert alone.returncode == 0, out
  job, rng, kills = pair(root), np.random.default_rng(0), 0
  for line in job.stdout:
    if 'base' in line and '/12' in line and kills < 3:
      time.sleep(rng.uniform(0, 2))
      if alive := runs.processes(root):
        os.kill(rng.choice(alive), signal.SIGKILL)
        kills += 1
  assert job.wait() == 0 and kills == 3
  there = download(root, tmp_path / 'there')
  runs.same(runs.final(tmp_path / 'alone', 'base'), runs.final(there, 'base'))

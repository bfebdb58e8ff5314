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
from visor_jax.training import stages

root = buckets.root
TINY = pathlib.Path(__file__).with_name('tiny.py')

# A lease outlives who is killed; here for seconds, or each kill costs a minute.
MAIN = """
import sys
from visor_jax.runtime import lease
lease.BEAT, lease.SILENT, lease._POLL = 0.5, 3, 0.2
from visor_jax import main
sys.exit(main.main(sys.argv[1:]))
"""


def start(workdir, jobs):
  return subprocess.Popen(
    [
      sys.executable,
      '-c',
      MAIN,
      f'--config={TINY}:jobs={jobs}',
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
  """$VISOR_KILLS times at most."""
  alone = start(tmp_path / 'alone', 'all')
  rng, kills = np.random.default_rng(0), 0
  while True:
    run, lines = start(root, 'all'), int(rng.integers(5, 40))
    tail = [line for line, _ in zip(run.stdout, range(lines))]
    assert 'Traceback' not in ''.join(tail)
    time.sleep(rng.uniform(0, 1))
    if kills < int(os.environ.get('VISOR_KILLS', 20)) and run.poll() is None:
      run.send_signal(signal.SIGKILL)
      kills += 1
    out, _ = run.communicate()
    if run.returncode != -signal.SIGKILL:
      break
  assert run.returncode == 0, out
  out, _ = alone.communicate()
  assert alone.returncode == 0, out
  there = download(root, tmp_path / 'there')
  for stage in stages.STAGES:
    runs.same(runs.final(tmp_path / 'alone', stage), runs.final(there, stage))
    steps = [
      json.loads(l)['step'] for l in open(there / stage / 'metrics.jsonl')
    ]
    assert steps == sorted(set(steps)) and steps[-1] == 12
  assert runs.results(tmp_path / 'alone') == runs.results(there)
  print(f'{kills} kills: nothing lost', flush=True)

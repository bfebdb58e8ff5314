"""Two real processes make the run that one makes, and survive each other.

Both have two devices in all. Drills, because a pair compiles everything twice
on the cores of one; the suite has tests/eval/pair_test.py and cluster_test.py.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests import runs
from tests import tiny

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope='module')
def start(tmp_path_factory):
  """Starts the tiny recipe on a number of processes, two devices in all."""
  cache = tmp_path_factory.mktemp('compiled')

  def run(workdir, processes=2, options=('--restarts=0',)):
    main = [f'--config={ROOT / "tests/tiny.py"}', f'--workdir={workdir}']
    command = [sys.executable, '-m', 'visor_jax.main', *main]
    if processes > 1:
      command = [
        sys.executable,
        str(ROOT / 'launch/local.py'),
        f'--processes={processes}',
        f'--devices={2 // processes}',
        *options,
        '--',
        *main,
      ]
    return subprocess.Popen(
      command,
      text=True,
      cwd=ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      env=os.environ
      | {
        'JAX_PLATFORMS': 'cpu',
        'JAX_NUM_CPU_DEVICES': '2',
        'JAX_COMPILATION_CACHE_DIR': str(cache),
        'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
      },
    )

  return run


def done(process, timeout=3000):
  out, _ = process.communicate(timeout=timeout)
  assert process.returncode == 0, out
  return out


def answers(workdir):
  """{file: rows} of all that was asked; costs and scores with them."""
  return {
    str(p.relative_to(workdir)): p.read_text()
    for p in sorted(workdir.rglob('*.jsonl'))
    if p.name not in ('metrics.jsonl', 'results.jsonl')
  }


def losses(workdir):
  return {
    p.parent.name: [
      (row['step'], row['loss'])
      for row in map(json.loads, p.read_text().splitlines())
      if 'loss' in row  # of a stage, not of a job that asks
    ]
    for p in sorted(workdir.glob('*/metrics.jsonl'))
  }


def alike(one, two):
  """Answers, labels, plans and results equal; losses within 1e-5."""
  assert answers(one) == answers(two) and len(answers(one)) > 3
  assert runs.results(one) == runs.results(two)
  for name in ('search/plans.json', 'config.json'):
    assert (one / name).read_text() == (two / name).read_text(), name
  first, second = losses(one), losses(two)
  assert first.keys() == second.keys()
  for stage in first:
    np.testing.assert_allclose(first[stage], second[stage], atol=1e-5)


@pytest.fixture(scope='module')
def pair(start, tmp_path_factory):
  """All jobs on two processes that nobody disturbed."""
  workdir = tmp_path_factory.mktemp('pair')
  done(start(workdir))
  return workdir


@pytest.mark.drill
def test_two_processes_make_the_run_of_one(start, pair, tmp_path):
  out = done(start(tmp_path, 1))
  assert out.count('all done') == 1
  alike(pair, tmp_path)


@pytest.mark.drill
def test_a_pair_is_repeatable_to_the_bit(start, pair, tmp_path):
  done(start(tmp_path))
  for stage in tiny.STAGES:
    runs.same(runs.final(pair, stage), runs.final(tmp_path, stage))


@pytest.mark.drill
def test_killed_at_random_moments_it_ends_bitwise_the_same(
  start, pair, tmp_path
):
  """kill -9 of either process; the supervisor brings the job back.

  VISOR_KILL_EVERY=a,b: seconds between kills, at random from a to b.
  """
  rng, kills = np.random.default_rng(0), 0
  low, high = map(float, os.environ.get('VISOR_KILL_EVERY', '15,40').split(','))
  job = start(tmp_path, options=('--restarts=10',))
  outputs = []
  while job.poll() is None:
    if kills < 10:
      time.sleep(rng.uniform(low, high))
      alive = runs.processes(tmp_path)
      if len(alive) == 2:
        os.kill(alive[rng.integers(2)], signal.SIGKILL)
        kills += 1
    else:
      outputs.append(done(job, 7200))
  print(f'{kills} kills')
  assert kills >= 5 and job.returncode == 0, outputs
  for stage in tiny.STAGES:
    runs.same(runs.final(pair, stage), runs.final(tmp_path, stage))
  assert answers(pair) == answers(tmp_path)
  assert not runs.processes(tmp_path)


QUICK = (
  '--config.base.steps=20',
  '--config.checkpoint.every=5',
  '--config.checkpoint.keep=9',
  '--config.log.every=1',
)


def twenty(workdir, processes, devices):
  """Steps of the quickstart's base stage; {step: loss}."""
  done(
    subprocess.Popen(
      [
        sys.executable,
        str(ROOT / 'launch/local.py'),
        '--restarts=0',
        f'--processes={processes}',
        f'--devices={devices}',
        '--',
        f'--config={ROOT / "experiments/quickstart.py"}:jobs=base',
        f'--workdir={workdir}',
        *QUICK,
      ],
      text=True,
      cwd=ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
    )
  )
  return dict(losses(workdir)['base'])


@pytest.mark.drill
def test_twenty_steps_are_repeatable_and_move_between_layouts(tmp_path):
  """Two processes of two devices; then four devices of one, then one."""
  first, again = tmp_path / 'first', tmp_path / 'again'
  want = twenty(first, 2, 2)
  assert twenty(again, 2, 2) == want and len(want) == 20
  runs.same(runs.final(first, 'base', 20), runs.final(again, 'base', 20))
  before = first
  for start, devices in ((10, 4), (15, 1)):
    moved = tmp_path / f'{devices}'
    shutil.copytree(before, moved)
    for folder in (moved / 'base/checkpoints').iterdir():
      if int(folder.name) > start:
        shutil.rmtree(folder)
    got = twenty(moved, 1, devices)
    print(devices, max(abs(got[i] - want[i]) for i in want))
    np.testing.assert_allclose(
      [got[i] for i in sorted(want)], [want[i] for i in sorted(want)], atol=1e-5
    )
    before = moved

"""A disk that fails costs time, and never a checkpoint."""

import errno
import os
import pathlib
import shutil
import subprocess
import sys

import jax
from jax import numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests import faulty_disk
from tests.checkpoint import stages
from visor_jax.checkpoint import manifest
from visor_jax.checkpoint import steps
from visor_jax.checkpoint import store
from visor_jax.runtime import command
from visor_jax.runtime import errors
from visor_jax.runtime import retry

EIO = OSError(errno.EIO, 'Input/output error')


@pytest.fixture(autouse=True)
def waits(monkeypatch):
  """Waits are short."""
  monkeypatch.setattr(retry, 'WAITS', (0.01, 0.01))


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  path = tmp_path_factory.mktemp('run')
  stages.write(path, 4, 8)
  return path


@pytest.fixture
def stage(written, tmp_path):
  """Checkpoints 4 and 8 of a stage, a copy to harm."""
  return pathlib.Path(shutil.copytree(written, tmp_path / 'stage'))


@pytest.fixture
def faulty(monkeypatch):
  """Has a function fail the next so many times."""

  def put(owner, name, times, error=EIO):
    real, left = getattr(owner, name), [error] * times

    def act(*args, **kwargs):
      if left:
        raise left.pop()
      return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, act)
    return left

  return put


CALLS = [
  (ocp.AsyncCheckpointer, 'save'),
  (ocp.AsyncCheckpointer, 'wait_until_finished'),
  (manifest, 'text'),
]


@pytest.mark.parametrize('times', [1, 2])
@pytest.mark.parametrize('owner,name', CALLS)
def test_a_save_that_fails_is_made_again(
  owner, name, times, stage, faulty, capsys
):
  left = faulty(owner, name, times)
  stages.write(stage, 12)
  assert not left and stages.resume(stage) == 12
  printed = capsys.readouterr().out
  assert printed.count(f'{stage}/12 was not saved') == times
  params, _ = stages.restored(stage, 12)
  np.testing.assert_array_equal(params['b'], stages.PARAMS['b'] + 12)


@pytest.mark.parametrize('owner,name', CALLS)
def test_a_save_that_fails_for_good_leaves_the_last_one(
  owner, name, stage, faulty, monkeypatch
):
  with monkeypatch.context():
    faulty(owner, name, 1000)
    with pytest.raises(errors.Passing, match='12 was not saved'):
      with store.Checkpoints(stage) as saved:
        saved.save(12, stages.PARAMS, stages.OPT)
        saved.wait()
  monkeypatch.undo()
  monkeypatch.setattr(retry, 'WAITS', ())
  assert stages.resume(stage) in (8, 12)
  assert not manifest.faults(stage / '8')


def donated(step):
  """Parameters that are gone when the next step is made."""
  params = jax.tree.map(lambda x: x + step, stages.PARAMS)
  return params, lambda: [leaf.delete() for leaf in jax.tree.leaves(params)]


@pytest.mark.parametrize('times', [1, 2])
def test_the_next_save_stands_for_one_whose_arrays_are_gone(
  times, stage, faulty, capsys
):
  faulty(manifest, 'text', times)
  with store.Checkpoints(stage) as saved:
    for step in (12, 16, 20):
      params, donate = donated(step)
      saved.save(step, params, stages.OPT)
      if step < 20:
        donate()
  assert stages.resume(stage) == 20
  assert f'{stage}/12 was not saved' in capsys.readouterr().out
  assert {p.name for p in stage.iterdir()} <= {'8', '16', '20'}


def test_saves_do_not_fail_for_ever_unseen(stage, faulty):
  faulty(manifest, 'text', 1000)
  with pytest.raises(errors.Passing, match='was not saved'):
    with store.Checkpoints(stage) as saved:
      for step in range(12, 100, 4):
        params, donate = donated(step)
        saved.save(step, params, stages.OPT)
        donate()
  assert step <= 24
  assert not manifest.faults(stage / '8')


def test_an_error_of_the_run_counts_before_one_of_its_last_save(
  stage, faulty, capsys
):
  faulty(manifest, 'text', 1000)
  with pytest.raises(errors.Refusal, match='no step is good'):
    with store.Checkpoints(stage) as saved:
      saved.save(12, stages.PARAMS)
      raise errors.Refusal('no step is good')
  assert 'the last checkpoint was not saved' in capsys.readouterr().out


@pytest.mark.parametrize('times', [1, 2, 3])
def test_a_read_error_in_a_restore_may_pass(times, stage, faulty):
  faulty(ocp.Checkpointer, 'restore', times, ValueError('OS error 5: EIO'))
  if times < 3:
    params, _ = stages.restored(stage, 8)
    np.testing.assert_array_equal(params['b'], stages.PARAMS['b'] + 8)
  else:
    with pytest.raises(errors.Passing, match='8 cannot be read: OS error 5'):
      stages.restored(stage, 8)


@pytest.mark.parametrize('times', [2, 3])
@pytest.mark.parametrize('number', [errno.EIO, errno.ESTALE])
def test_a_checkpoint_that_cannot_be_read_now_is_not_passed_over(
  number, times, stage, monkeypatch
):
  """An older one would be trained on, and this one deleted."""
  left = [OSError(number, os.strerror(number))] * times

  def fail(path, *args, **options):
    if left and str(path).endswith('params/_METADATA'):
      raise left.pop()
    return open(path, *args, **options)

  monkeypatch.setattr(pathlib.Path, 'open', fail)
  if times < 3:
    assert stages.resume(stage) == 8
  else:
    with pytest.raises(errors.Passing, match='cannot be read now'):
      stages.resume(stage)


@pytest.mark.parametrize(
  'params,words',
  [
    ({'b': jnp.ones(5)}, r'llm/w: here None, there \(3, 100\)'),
    (stages.PARAMS | {'b': jnp.ones(4)}, r'b: here \(4,\), there \(5,\)'),
    (stages.PARAMS | {'z': jnp.ones(1)}, r'z: here \(1,\), there None'),
  ],
)
def test_parameters_that_do_not_fit_are_refused(params, words, stage):
  """It is no fault of the disk, and not tried again."""
  with store.Checkpoints(stage) as saved:
    with pytest.raises(errors.Refusal, match=words):
      saved.restore(8, stages.like(params))


@pytest.fixture
def small_disk(tmp_path):
  """A disk of a megabyte."""
  disk = tmp_path / 'disk'
  disk.mkdir()
  process = subprocess.run(
    ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', disk],
    capture_output=True,
  )
  if process.returncode:
    pytest.skip('a disk needs rights')
  yield disk
  subprocess.run(['umount', '--lazy', disk], check=True)


def test_a_full_disk_that_is_emptied_costs_nothing(small_disk, monkeypatch):
  params = {
    'w': jnp.asarray(
      np.random.default_rng(0).integers(0, 255, 200_000, np.uint8)
    )
  }
  ballast = small_disk / 'ballast'

  def empty(seconds):
    if ballast.exists():
      ballast.unlink()

  stage = small_disk / 'stage'
  with store.Checkpoints(stage) as saved:
    saved.save(4, params)
  ballast.write_bytes(b'x' * 700_000)
  monkeypatch.setattr(retry.time, 'sleep', empty)
  with store.Checkpoints(stage) as saved:
    saved.save(8, params)
  assert steps.steps(stage) == [4, 8] and stages.resume(stage) == 8


def test_a_disk_that_stays_full_leaves_the_last_checkpoint(small_disk):
  params = {
    'w': jnp.asarray(
      np.random.default_rng(0).integers(0, 255, 600_000, np.uint8)
    )
  }
  stage = small_disk / 'stage'
  with store.Checkpoints(stage) as saved:
    saved.save(4, params)
  with pytest.raises(errors.Passing, match='8 was not saved'):
    with store.Checkpoints(stage) as saved:
      saved.save(8, params)
  assert stages.resume(stage) == 4


def saves_end(tmp_path, share, seeds):
  """Starts a process again and again on a disk that fails.

  Returns how often it was started, and how many calls failed.
  """
  disk, folder = faulty_disk.Disk(tmp_path, tmp_path), tmp_path / 'checkpoints'
  script = pathlib.Path(__file__).with_name('faulty_saves.py')
  tries = 0
  for seed in seeds:
    tries += 1
    done = subprocess.run(
      [sys.executable, script, folder],
      cwd=pathlib.Path(__file__).parents[2],
      env=disk.env(share, seed) | {'PYTHONPATH': '.'},
      capture_output=True,
      text=True,
      timeout=120,
    )
    assert done.returncode in (0, command.DIED), done.stdout + done.stderr
    if done.returncode == 0:
      break
  assert done.returncode == 0
  assert stages.resume(folder) == 5
  with store.Checkpoints(folder) as saved:
    params, _ = saved.restore(5, stages.like(stages.PARAMS))
  np.testing.assert_array_equal(params['b'], stages.PARAMS['b'] + 5)
  return tries, sum(disk.faults().values())


def test_calls_that_fail_at_random_lose_nothing(tmp_path):
  saves_end(tmp_path, 0.01, range(10))


@pytest.mark.drill
def test_many_calls_that_fail_at_random_lose_nothing(tmp_path):
  ends = []
  for number in range(40):
    folder = tmp_path / str(number)
    folder.mkdir()
    share = (0.002, 0.005, 0.01, 0.02)[number % 4]
    seeds = range(1000 * number, 1000 * number + 60)
    ends.append(saves_end(folder, share, seeds))
    starts, faults = map(sum, zip(*ends))
    print(
      f'{len(ends)} runs, {faults} calls failed, {starts} starts', flush=True
    )

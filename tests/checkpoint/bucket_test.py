"""Checkpoints in buckets: what holds on a disk holds there."""

import functools
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from tests import buckets
from tests import published
from tests.checkpoint import stages
from visor_jax.checkpoint import __main__
from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import folder
from visor_jax.checkpoint import load
from visor_jax.checkpoint import manifest
from visor_jax.checkpoint import steps
from visor_jax.checkpoint import store
from visor_jax.runtime import errors
from visor_jax.runtime import paths
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans

root = buckets.root


@functools.cache
def written(scheme):
  path = paths.parse(f'{scheme}://{buckets.BUCKET}/written-{os.getpid()}')
  stages.write(path, 4, 8)
  return path


@pytest.fixture
def stage(root):
  """The checkpoints 4 and 8 of a stage, a copy to harm."""
  return buckets.upload(
    written(root.partition(':')[0]), f'{root}/base/checkpoints'
  )


def test_what_comes_back_is_what_was_saved(stage, capsys):
  assert steps.steps(stage) == [4, 8] and not steps.others(stage)
  params, opt = stages.restored(stage, 8)
  jax.tree.map(
    np.testing.assert_array_equal,
    (params, opt),
    (jax.tree.map(lambda x: x + 8, stages.PARAMS), stages.OPT),
  )
  assert __main__.main(['verify', f'--workdir={stage.parent.parent}']) == 0
  assert '2 of 2 checkpoints are good' in capsys.readouterr().out


def test_harm_is_seen_and_passed_over(stage, capsys):
  file = next(p for p in (stage / '8' / 'params' / 'd').iterdir())
  whole = file.read_bytes()
  file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
  assert stages.resume(stage) == 4
  file.unlink()
  assert stages.resume(stage) == 4
  assert capsys.readouterr().out.count(file.name) == 2
  with pytest.raises(errors.Refusal, match='not good'):
    stages.restored(stage, 8)


def test_one_that_is_being_written_or_deleted_does_not_count(stage, capsys):
  """Nothing is renamed in a bucket: hashes come last, and go first."""
  (stage / '8' / manifest.name(0)).unlink()
  assert stages.resume(stage) == 4
  assert 'unfinished' in capsys.readouterr().out
  with store.Checkpoints(stage) as saved:
    saved.save(8, stages.PARAMS)  # in its place
  assert steps.steps(stage) == [4, 8] and stages.resume(stage) == 8
  assert not (stage / '8' / 'opt').exists()  # of the one before


def test_a_deletion_that_is_killed_is_ended_by_the_next(stage, monkeypatch):
  with monkeypatch.context() as killed:
    killed.setattr(steps, '_remove', lambda path: None)
    steps.delete(stage, {8})
  assert steps.steps(stage) == [4, 8]
  assert not manifest.finished(stage / '4')
  steps.delete(stage, {8})
  assert steps.steps(stage) == [8]


def test_another_model_is_refused(stage):
  with store.Checkpoints(stage) as saved:
    with pytest.raises(errors.Refusal, match='of another model'):
      saved.restore(8, {'b': jax.ShapeDtypeStruct((6,), np.float32)})


def test_a_folder_that_was_copied_there_is_read(root, tmp_path):
  """Its tokenizer is read from a disk, where its readers expect it."""

  def write_processor(folder):
    folder.mkdir(parents=True)
    (folder / 'config.json').write_text('{}')

  facts = facts_lib.Facts(
    architecture_lib.Architecture(published.SIZES['0.5b'], plans.base(24))
  )
  folder.save(tmp_path / 'disk', stages.PARAMS, facts, write_processor)
  buckets.upload(tmp_path / 'disk', root)
  loaded = load.load(root)
  jax.tree.map(
    np.testing.assert_array_equal,
    loaded.params,
    load.load(tmp_path / 'disk').params,
  )
  assert loaded.facts == facts
  assert (loaded.processor / 'config.json').read_text() == '{}'


SAVE = """
import sys
from tests.checkpoint import stages
from visor_jax.runtime import paths
stages.write(paths.parse(sys.argv[1]), *range(12, 1000, 4))
"""


@pytest.mark.parametrize('root', ['s3'], indirect=True)
def test_what_is_killed_while_it_saves_and_deletes_loses_nothing(stage):
  """One moment; the drill has more, and both stores."""
  line = [sys.executable, '-c', SAVE, str(stage)]
  run = subprocess.Popen(line, env=os.environ | {'PYTHONPATH': os.getcwd()})
  while not (stage / '16').exists():  # 12 may be whole, 8 be deleted
    time.sleep(0.01)
  run.kill()
  assert run.wait() == -signal.SIGKILL
  step = stages.resume(stage)
  assert step >= 8
  params, opt = stages.restored(stage, step)
  jax.tree.map(
    np.testing.assert_array_equal,
    (params, opt),
    (jax.tree.map(lambda x: x + step, stages.PARAMS), stages.OPT),
  )

"""The loop: cut off at any step it comes to the same end."""

import jax
import pytest

from tests import runs
from tests import tiny
from visor_jax.data.suites import table as suites
from visor_jax.runtime import files
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import preempt
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import inputs as inputs_lib
from visor_jax.training import loop
from visor_jax.training import stages

STEPS = 5


@pytest.fixture(scope='module')
def config():
  config = tiny.get_config()
  for stage in stages.STAGES:
    config[stage].steps = STEPS * (stage == 'cross')
  config.checkpoint.every, config.log.every = 2, 1
  return config


def train(config, folder):
  inputs = inputs_lib.Inputs(
    config,
    workdir_lib.Workdir(folder),
    mesh_lib.make(devices=jax.devices()[:1]),
    suites.open_suite(config, ('cross',), ''),
  )
  loop.train('cross', inputs)
  return inputs.workdir


@pytest.fixture(scope='module')
def undisturbed(config, tmp_path_factory):
  return train(config, tmp_path_factory.mktemp('undisturbed'))


def test_a_run_that_is_told_to_leave_saves_its_step_and_goes_on(
  config, undisturbed, tmp_path, monkeypatch
):
  """Bit by bit as if nothing had been, optimizer and logged numbers too."""
  asked = iter([False, False, False, True])
  monkeypatch.setattr(preempt, 'requested', lambda: next(asked, False))
  with pytest.raises(SystemExit) as left:
    train(config, tmp_path)
  assert left.value.code == preempt.EXIT_CODE
  workdir = train(config, tmp_path)
  runs.same(
    runs.final(undisturbed.path, 'cross', STEPS),
    runs.final(workdir.path, 'cross', STEPS),
  )
  logged, want = (
    [
      {key: row[key] for key in ('step', 'loss', 'grad_norm', 'learning_rate')}
      for row in files.read_jsonl(each.metrics('cross'))
    ]
    for each in (workdir, undisturbed)
  )
  assert logged == want and [row['step'] for row in want] == [1, 2, 3, 4, 5]


def test_a_stage_that_is_done_is_not_done_again(
  config, undisturbed, monkeypatch, capsys
):
  monkeypatch.setattr(loop, 'program_lib', None)  # nothing is built
  train(config, undisturbed.path)
  assert 'cross: done before' in capsys.readouterr().out

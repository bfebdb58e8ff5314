"""Checkpoint folders and workdirs are located alike, also in a chain."""

import json

import numpy as np
import pytest

from tests import published
from tests import trained
from visor_jax import config as config_lib
from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import folder
from visor_jax.checkpoint import load
from visor_jax.checkpoint import resolve
from visor_jax.runtime import identity
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib


def leave(path, *finished, init_from=''):
  """A workdir of which only the weights are missing; returns its path."""
  config = config_lib.default()
  config.model.init_from = str(init_from)
  workdir = workdir_lib.Workdir(path)
  for stage in finished:
    config[stage].steps = 2
    (workdir.checkpoints(stage) / '2').mkdir(parents=True)
  model = resolve.architecture(config)
  workdir.path.mkdir(exist_ok=True)
  workdir.config.write_text(json.dumps(identity.identity(config)))
  workdir.architecture.write_text(json.dumps(model.to_json()))
  return path


@pytest.fixture
def checkpoint(tmp_path):
  """A checkpoint folder whose VISOR is in no way the default's."""
  known = trained.architecture(
    architecture_lib.Architecture(published.SIZES['0.5b'], plans.base(24)),
    24,
  )
  folder.save(
    tmp_path / 'ckpt',
    {'x': np.zeros(1)},
    facts_lib.Facts(known, trained=(facts_lib.CROSS,)),
    lambda path: path.mkdir(parents=True),
  )
  return tmp_path / 'ckpt'


def test_a_run_is_what_its_last_finished_stage_left(tmp_path):
  run = leave(tmp_path / 'run', 'base', 'cross', 'full', 'universal')
  location = load.locate(run)
  assert location.weights == run / 'universal/checkpoints/2'
  assert location.facts.trained == (facts_lib.CROSS, facts_lib.DECODER)
  assert location.origin == '' and location.processor is None
  base = load.locate_base(run)
  assert base.weights == run / 'base/checkpoints/2'
  assert base.facts.trained == ()
  assert base.facts.architecture.layout == plans.base(24)


def test_a_frozen_base_stays_one(tmp_path):
  run = leave(tmp_path / 'run', 'base', 'cross')
  assert load.locate(run).facts.trained == (facts_lib.CROSS,)


def test_what_had_been_trained_before_a_run_stays_trained(checkpoint, tmp_path):
  """Its stages may have trained nothing but a router, or the base anew."""
  known = load.locate(checkpoint).facts
  for stage in ('policy', 'base'):
    run = leave(tmp_path / stage, stage, init_from=checkpoint)
    facts = load.locate(run).facts
    assert facts.trained == (facts_lib.CROSS,)
    assert facts.architecture == known.architecture
  fresh = load.locate(leave(tmp_path / 'fresh', 'policy')).facts
  assert fresh.trained == () and fresh.architecture.layout == plans.base(24)


def test_a_run_from_a_run_has_the_tokenizer_of_the_first(checkpoint, tmp_path):
  first = leave(tmp_path / 'a', 'full', init_from=checkpoint)
  second = leave(tmp_path / 'b', 'full', init_from=first)
  for run in (first, second):
    location = load.locate(run)
    assert location.weights == run / 'full/checkpoints/2'
    assert location.processor == checkpoint / 'hf'
    assert location.facts.architecture == (
      load.locate(checkpoint).facts.architecture
    )
    assert load.locate_base(run) == load.locate(checkpoint)


def test_the_base_of_a_run_from_a_run_is_what_was_trained_last(tmp_path):
  first = leave(tmp_path / 'a', 'base', 'cross')
  second = leave(tmp_path / 'b', 'full', init_from=first)
  assert load.locate_base(second).weights == first / 'base/checkpoints/2'
  assert load.locate_base(leave(tmp_path / 'c', 'cross')) is None
  third = leave(tmp_path / 'd', 'connector', 'cross', init_from=second)
  assert load.locate_base(third).weights == third / 'connector/checkpoints/2'


def test_what_is_neither_is_named(tmp_path):
  with pytest.raises(ValueError, match='neither a workdir nor a folder that'):
    load.locate(tmp_path)
  with pytest.raises(ValueError, match='no training stage is finished yet'):
    load.locate(leave(tmp_path / 'run'))

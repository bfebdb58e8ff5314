"""Stages are records, in a table.

tests/extending_test.py adds one from outside.
"""

import jax
import jax.numpy as jnp
import pytest

from tests import tiny
from visor_jax import config as config_lib
from visor_jax.data.suites import table as suites
from visor_jax.runtime import files
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import inputs
from visor_jax.training import loop
from visor_jax.training import optim
from visor_jax.training import stage as stage_lib
from visor_jax.training import stages


def test_the_recipe_is_in_order():
  """A stage starts from stages that come before it, and has its own keys."""
  names = list(stages.STAGES)
  assert names == ['connector', 'base', 'cross', 'full', 'universal', 'policy']
  for i, stage in enumerate(stages.STAGES.values()):
    assert set(stage.starts_from) <= set(names[:i])
    assert config_lib.default()[stage.name].plan == stage.plan


def test_a_stage_that_there_is_not_is_named():
  with pytest.raises(
    ValueError, match='"annealing" is not one of connector, base'
  ):
    stages.named('annealing')


@pytest.mark.parametrize('field', ['loss', 'feed'])
def test_a_stage_whose_loss_or_feed_is_none_is_an_error(field):
  """It would train something else, or nothing, to the end."""
  with pytest.raises(TypeError, match=f"toy: its {field} is 'answer'"):
    stage_lib.Stage('toy', trains=(('.*', True),), **{field: 'answer'})


def pull(config, viable):
  """A loss from outside: weights go to a target; some rows are not finite."""

  def loss(model, params, examples, plan):
    value = jnp.mean((params['connector']['newline'] - config.toy.target) ** 2)
    bad = examples.batch.tokens.sum() % 3 == 0
    return jnp.where(bad, jnp.nan, value), {'targets': jnp.float32(1)}

  return loss


TOY = stage_lib.Stage(
  'toy',
  trains=(('connector/newline', True), ('.*', False)),
  loss=pull,
  starts_from=('base',),
  keys=dict(target=0.5, learning_rate=0.1),
)


@pytest.fixture
def toy(monkeypatch, tmp_path):
  """(steps, config keys) -> the workdir in which the toy stage has run."""
  monkeypatch.setitem(stages.STAGES, 'toy', TOY)

  def train(steps, **options):
    config = tiny.get_config()
    for name in stages.STAGES:
      config[name].steps = 0
    config.toy.update(dict(steps=steps, batch=4, **options))
    config.log.every = 1
    workdir = workdir_lib.Workdir(tmp_path)
    devices = jax.devices()[:1]
    suite = suites.open_suite(config, ('toy',), '')
    loop.train(
      'toy',
      inputs.Inputs(config, workdir, mesh_lib.make(devices=devices), suite),
    )
    return config, workdir

  return train


def test_the_logged_rate_is_the_one_that_was_used(toy):
  """The schedule stands still where a step is skipped."""
  config, workdir = toy(12, warmup=0.5)
  skipped = {row['step'] for row in files.read_jsonl(workdir.nonfinite('toy'))}
  rows = files.read_jsonl(workdir.metrics('toy'))
  assert 1 < len(skipped) < 10 and min(skipped) < 10
  schedule, applied = optim.schedule(config.toy), 0
  for row in rows:
    assert row['learning_rate'] == float(schedule(applied))
    assert row['skipped'] == (row['step'] in skipped)
    applied += row['step'] not in skipped

"""README.md is true to the word."""

import pathlib
import re
import sys

from flax import linen as nn
import jax
import jax.numpy as jnp
import pytest

from visor_jax import config as config_lib
from visor_jax.data.pipeline import loader
from visor_jax.data.suites import digits
from visor_jax.models import attention
from visor_jax.models import cross_attention
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import sizes
from visor_jax.training import optim
from visor_jax.training import stages
from visor_jax.training import step

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()


def test_the_cross_attention_of_the_readme_trains(monkeypatch):
  (code,) = (
    c
    for c in re.findall(r'```python\n(.*?)```', README, re.S)
    if 'cross.CROSS' in c
  )
  monkeypatch.setattr(cross_attention, 'CROSS', dict(cross_attention.CROSS))
  exec(
    code,
    dict(
      attention=attention, cross=cross_attention, jnp=jnp, nn=nn, sizes=sizes
    ),
  )
  monkeypatch.syspath_prepend(ROOT / 'tests')
  import tiny  # the size, too

  c = tiny.get_config()
  c.model.cross.module = 'mean'
  config_lib.validate(c)
  c.cross.learning_rate = 1e-2
  mesh = mesh_lib.make(devices=jax.devices()[:1])
  suite = digits.Suite(0)
  batch, _ = next(loader.batches(suite.training('cross'), 8, 0, 1))
  model, batch = step.model(c), mesh_lib.shard_batch(batch, mesh)
  params = step.init(model, 0, batch, mesh)[0]()
  trained, frozen = param_paths.split(params, stages.STAGES['cross'].trains)
  assert list(trained) == ['llm/cross/out']
  tx = optim.make(c.optim, c.cross)
  state = step.State(trained, frozen, tx.init(trained))
  run = jax.jit(
    step.train_step(lambda p, b, plan: step.answer_loss(model, p, b, plan), tx)
  )
  losses = []
  for _ in range(6):
    state, metrics = run(state, batch, jnp.asarray(model.layout.max))
    losses.append(float(metrics['loss']))
  assert losses[-1] < losses[0]
  sys.modules.pop('tiny')


@pytest.mark.parametrize(
  'name',
  sorted(
    set(re.findall(r'(?:visor_jax|experiments|docs|tests)/[\w/]+\.\w+', README))
  ),
)
def test_files_that_the_readme_names_exist(name):
  assert (ROOT / name).exists()


@pytest.mark.parametrize(
  'name',
  sorted(set(re.findall(r'`(\w+\.py|models/\w+\.py|data/\w+\.py)`', README))),
)
def test_the_reading_order_names_files(name):
  assert (ROOT / 'visor_jax' / name).exists()

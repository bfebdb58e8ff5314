"""README.md is true to the word."""

import dataclasses
import functools
import pathlib
import re
import sys

import jax
import jax.numpy as jnp
import pytest

from tests import llava
import visor_jax
from visor_jax import inference
from visor_jax.data.pipeline import loader
from visor_jax.data.suites import digits
from visor_jax.jobs import validate
from visor_jax.models import cross_attention
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.training import losses
from visor_jax.training import model as model_lib
from visor_jax.training import optim
from visor_jax.training import stages
from visor_jax.training import step

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()


def test_the_cross_attention_of_the_readme_trains(monkeypatch):
  (code,) = (
    c
    for c in re.findall(r'```python\n(.*?)```', README, re.S)
    if 'cross_attention.CROSS' in c
  )
  monkeypatch.setattr(cross_attention, 'CROSS', dict(cross_attention.CROSS))
  exec(code, {})
  monkeypatch.syspath_prepend(ROOT / 'tests')
  import tiny  # the size, too

  c = tiny.get_config()
  c.model.cross.module = 'mean'
  validate.validate(c)
  c.cross.learning_rate = 1e-2
  mesh = mesh_lib.make(devices=jax.devices()[:1])
  suite = digits.Suite(0)
  batch, _ = next(loader.batches(suite.training('cross'), 8, 0, 1))
  model = model_lib.build(c)
  examples = losses.Examples(mesh_lib.shard_batch(batch, mesh))
  params = model_lib.init_params(model, 0, mesh)
  trained, frozen = param_paths.split(params, stages.STAGES['cross'].trains)
  assert list(trained) == ['llm/cross/out']
  tx = optim.make(c.optim, c.cross)
  state = step.State(trained, frozen, tx.init(trained))
  run = jax.jit(
    step.train_step(functools.partial(losses.answer_loss, model), tx)
  )
  values = []
  for _ in range(6):
    state, metrics = run(state, examples, jnp.asarray(model.layout.max))
    values.append(float(metrics['loss']))
  assert values[-1] < values[0]
  sys.modules.pop('tiny')


def test_the_first_lines_of_the_readme_ask_a_model(monkeypatch, tmp_path):
  """On a tiny LLaVA-OneVision, as if its VISOR weights were trained."""
  code = re.search(r'```python\n(.*?)```', README, re.S)[1]
  folder = llava.Oracle(tmp_path / 'hf').folder
  llava.picture(600, 900, seed=0).save(tmp_path / 'page.png')

  def load(source):
    assert source == 'WORKDIR'
    model = inference.load(folder, allow_untrained=True)
    layout = model.model.layout
    facts = dataclasses.replace(
      model.facts,
      trained=('cross', 'router'),
      viable=(layout.min, layout.max),
    )
    return dataclasses.replace(model, facts=facts)

  monkeypatch.setattr(visor_jax, 'load', load)
  monkeypatch.chdir(tmp_path)
  printed = []
  exec(code, {'print': lambda *values: printed.append(values)})
  (_, plan, saved), *plans, (within_budget,) = printed
  assert plan in ((False,), (True,)) and saved > 1
  names = [line.split(':')[0] for (line,) in plans]
  assert names == ['min', '0', 'max']
  saved = [float(re.search('([0-9.]+)x', line)[1]) for (line,) in plans]
  assert saved == sorted(saved, reverse=True) and saved[-1] >= 1
  assert within_budget == (False,)


@pytest.mark.parametrize(
  'name',
  sorted(
    set(
      re.findall(
        r'(?:visor_jax|experiments|launch|docs|tests)/[\w/]+\.\w+', README
      )
    )
  ),
)
def test_files_that_the_readme_names_exist(name):
  assert (ROOT / name).exists()


@pytest.mark.parametrize(
  'name',
  sorted(
    name
    for name in set(re.findall(r'`((?:\w+/)*\w+\.py)`', README))
    if not name.startswith(('visor_jax/', 'experiments/', 'launch/'))
  ),
)
def test_the_reading_order_names_files(name):
  assert (ROOT / 'visor_jax' / name).exists()

"""A run that trains with token reduction, and answers with more of it."""

import functools
import json
import re

import chex
import jax
import pytest

from tests import tiny
import visor_jax
from visor_jax.data.processing import packing
from visor_jax.data.suites import digits
from visor_jax.jobs import table
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.training import losses
from visor_jax.training import model as model_lib


def test_a_step_trains_with_all_reductions():
  """Its loss is the mean of theirs."""
  c = tiny.get_config()
  model = model_lib.build(c)
  load = digits.Suite(c.seed, **c.data.digits).training('base')
  batch = packing.stack([load(i)[0] for i in range(4)])
  params = model_lib.init_params(model, c.seed, mesh_lib.make())

  def value(*reductions):
    loss = losses.mean_over_reductions(losses.answer(c, ()), reductions)
    loss = functools.partial(loss, model)
    return jax.jit(loss)(params, losses.Examples(batch), None)

  all_tokens, fewer, both = value('m3:1'), value('m3:5'), value('m3:1', 'm3:5')
  assert abs(all_tokens[0] - fewer[0]) > 1e-3
  chex.assert_trees_all_close(
    both, jax.tree.map(lambda a, b: (a + b) / 2, all_tokens, fewer), rtol=1e-5
  )


def test_the_first_steps_may_see_all_tokens():
  c = tiny.get_config()
  c.model.reduce, c.base.full_token_fraction = 'm3:2+pack:2', 0.25
  program = visor_jax.train_program(c, 'base')
  assert [program.reductions(i) for i in range(12)] == (
    [('',)] * 3 + [('m3:2', 'pack:2')] * 9
  )
  assert program.steps.keys() == {('',), ('m3:2', 'pack:2')}


@pytest.mark.drill
def test_a_run_with_token_reduction(tmp_path):
  """A step has all scales; results name their method and what it saves.

  Layers that are looked for are named as they are then.
  """
  c = tiny.get_config('jobs=base+eval+report')
  c.model.reduce, c.base.full_token_fraction = 'm3:1+m3:2', 0.5
  c.eval.reduce = 'm3:2+fastv:1:0.5+visionzip:1/2+shortv:0.8'
  c.eval.plans = 'base'
  table.run_jobs(c, tmp_path)
  rows = [json.loads(line) for line in (tmp_path / 'results.jsonl').open()]
  saved = {r['method']: r['flops_saved'] for r in rows}
  *named, searched = saved
  assert named == ['m3:1', 'm3:2', 'fastv:1:0.5', 'visionzip:0.5']
  assert re.fullmatch(r'shortv:[\d,-]+', searched)
  assert (
    saved['m3:1'] == 1 and min(v for k, v in saved.items() if k != 'm3:1') > 1.1
  )
  assert {r['selector'] for r in rows} == {'base'}
  text = (tmp_path / 'report' / 'index.html').read_text()
  assert all(method in text for method in saved)


@pytest.mark.drill
def test_visor_on_packed_tokens(tmp_path):
  """The whole recipe, the router included, and a method on top at the end."""
  c = tiny.get_config()
  c.model.reduce, c.eval.reduce = 'pack:2', 'vispruner:1/2'
  c.eval.plans = 'all+router'
  table.run_jobs(c, tmp_path)
  rows = [json.loads(line) for line in (tmp_path / 'results.jsonl').open()]
  assert {r['method'] for r in rows} == {'pack:2', 'vispruner:0.5'}
  assert {r['selector'] for r in rows} == {'fixed', 'router'}

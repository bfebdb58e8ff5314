"""A run that trains with token reduction, and answers with more of it."""

import json

import pytest

from tests import tiny
from visor_jax import main
from visor_jax import reduction


@pytest.mark.drill
def test_a_run_with_token_reduction(tmp_path):
  """A step draws a scale; results name their method and what it saves."""
  c = tiny.get_config('stage=base+eval+report')
  c.model.reduce = 'm3:1+m3:2'
  c.eval.reduce = 'm3:2+fastv:1:0.5+visionzip:1/2'
  c.eval.plans = 'base'
  main.run(c, tmp_path)
  rows = [json.loads(line) for line in (tmp_path / 'results.jsonl').open()]
  saved = {r['method']: r['flops_saved'] for r in rows}
  assert list(saved) == ['m3:1', 'm3:2', 'fastv:1:0.5', 'visionzip:0.5']
  assert saved['m3:1'] == 1 and min(
      v for k, v in saved.items() if k != 'm3:1') > 1.1
  assert {r['selector'] for r in rows} == {'base'}
  assert {reduction.draw(c.seed, i, 2) for i in range(12)} == {0, 1}
  text = (tmp_path / 'report' / 'index.html').read_text()
  assert all(method in text for method in saved)


@pytest.mark.drill
def test_visor_on_packed_tokens(tmp_path):
  """The whole recipe, the router included, and a method on top at the end."""
  c = tiny.get_config()
  c.model.reduce, c.eval.reduce = 'pack:2', 'vispruner:1/2'
  c.eval.plans = 'all+router'
  main.run(c, tmp_path)
  rows = [json.loads(line) for line in (tmp_path / 'results.jsonl').open()]
  assert {r['method'] for r in rows} == {'pack:2', 'vispruner:0.5'}
  assert {r['selector'] for r in rows} == {'fixed', 'router'}

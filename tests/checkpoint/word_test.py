"""A checkpoint is trained further and evaluated as the model that it is."""

import functools
import json

import jax
import numpy as np
import pytest

from tests import hub
from tests import tiny
from tests import trained
from tests.benchmarks import suite_test
import visor_jax
from visor_jax.benchmarks import questions
from visor_jax.benchmarks import scores
from visor_jax.benchmarks import table as benchmarks
from visor_jax.checkpoint import load
from visor_jax.jobs import table
from visor_jax.runtime import files
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import inputs as inputs_lib
from visor_jax.training import program as program_lib
from visor_jax.training import weights


def first(config, stage, tmp_path):
  """The program of a stage, and what it starts from."""
  mesh = mesh_lib.make(devices=jax.devices()[:1])
  program = program_lib.build(config, stage, mesh)
  inputs = inputs_lib.Inputs(
    config, workdir_lib.Workdir(tmp_path), mesh, suite=None
  )
  return program, param_paths.flatten(weights.first(program, inputs))


@pytest.mark.parametrize('stage', ['cross', 'full'])
@pytest.mark.parametrize('init', ['zero', 'copy'])
def test_a_stage_starts_with_the_model_that_was_trained(
  stage, init, checkpoint, known, tmp_path
):
  """No layer has moved, and no graft has overwritten what has learned."""
  config = trained.config(start=checkpoint)
  config[stage].steps, config.model.cross.init = 2, init
  program, params = first(config, stage, tmp_path)
  assert program.model.architecture == known
  assert program.reductions(0) == ('pack:2',)
  saved = param_paths.flatten(load.load(checkpoint).params)
  assert params.keys() == saved.keys()
  for path, x in saved.items():
    np.testing.assert_array_equal(params[path], x, path)


def test_a_router_that_was_not_trained_starts_fresh(crosses, tmp_path):
  config = trained.config(start=crosses)
  config.policy.steps, config.model.router.hidden = 2, 7
  _, params = first(config, 'policy', tmp_path)
  saved = param_paths.flatten(load.load(crosses).params)
  assert not any(path.startswith('router') for path in saved)
  assert params['router/bias'].shape == (3,) and any(
    7 in x.shape for path, x in params.items() if path.startswith('router')
  )
  for path, x in saved.items():
    np.testing.assert_array_equal(params[path], x, path)


def test_a_run_goes_on_from_a_finished_run(tmp_path, monkeypatch):
  """With its layers, though its own config says nothing of them."""
  one = functools.partial(mesh_lib.make, devices=jax.devices()[:1])
  monkeypatch.setattr(mesh_lib, 'make', one)
  config = tiny.get_config('jobs=base+cross')
  config.model.cross_layers, config.model.self_layers = (0,), (1,)
  config.base.steps = config.cross.steps = 2
  table.run_jobs(config, tmp_path / 'first')
  config = tiny.get_config('jobs=full')
  config.model.size, config.model.init_from = '', str(tmp_path / 'first')
  config.base.steps = config.cross.steps = 0
  config.full.steps = 2
  table.run_jobs(config, tmp_path / 'second')
  first, second = (load.locate(tmp_path / name) for name in ('first', 'second'))
  model = first.facts.architecture
  assert model.layout == plans.visor(3, (0,), (1,))
  assert second.facts.architecture == model
  assert load.locate_base(tmp_path / 'second') == (
    load.locate_base(tmp_path / 'first')
  )
  config.model.cross_layers = (2,)
  with pytest.raises(
    ValueError, match=r'cross_layers: here \(2,\), there \(0,'
  ):
    table.run_jobs(config, tmp_path / 'third')
  assert not (tmp_path / 'third').exists()


def test_a_checkpoint_is_evaluated_as_the_model_that_it_is(
  checkpoint, known, tmp_path, monkeypatch
):
  """Its answers are those that it gives when it is asked."""
  one = functools.partial(mesh_lib.make, devices=jax.devices()[:1])
  monkeypatch.setattr(mesh_lib, 'make', one)  # for eight would take minutes
  hub.write(tmp_path / 'hub', 'mme', suite_test.asked('mme'))
  config = trained.config(asked=checkpoint)
  config.jobs, config.data.suite = 'eval', ''
  config.data.prompt.update(text=400, visual=110, tiles=37)
  config.eval.update(
    benchmarks='mme',
    data=str(tmp_path / 'hub'),
    plans='1',
    max_new_tokens=4,
    batch=8,
    chunk=8,
    measure=False,
  )
  table.run_jobs(config, tmp_path / 'run')
  workdir = workdir_lib.Workdir(tmp_path / 'run')
  left = json.loads(workdir.architecture.read_text())
  assert architecture_lib.from_json(left) == known
  (row,) = files.read_jsonl(workdir.results)
  assert row['method'] == 'pack:2'
  (path,) = (tmp_path / 'run/eval').rglob('*-*.jsonl')  # a chunk of answers
  model = visor_jax.load(checkpoint)
  benchmark = benchmarks.BENCHMARKS['mme']
  source = questions.open_questions(benchmark, scores.RULES, tmp_path / 'hub')
  rows = files.read_jsonl(path)
  records = [source[i] for i in range(len(rows))]
  answers = model.generate(
    [list(record.images) for record in records],
    [record.turns[0].question for record in records],
    '1',
    max_new_tokens=4,
  )
  assert [r['answer'] for r in rows] == [a.text for a in answers]
  assert [r['llm_prefill_flops'] for r in rows] == [
    a.llm_prefill_flops for a in answers
  ]

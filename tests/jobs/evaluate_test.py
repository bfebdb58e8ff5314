"""A checkpoint of elsewhere on benchmarks: from files to rows of results."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from tests import hub
from tests import llava
from tests.benchmarks import suite_test
from visor_jax import config as config_lib
from visor_jax.checkpoint import load
from visor_jax.checkpoint import resolve
from visor_jax.checkpoint import store
from visor_jax.convert import folders
from visor_jax.jobs import table
from visor_jax.jobs import test_sets
from visor_jax.jobs import validate
from visor_jax.runtime import files
from visor_jax.runtime import identity as identity_lib
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.training import model as model_lib

NAMES = 'docvqa+mme+mmbench'


@pytest.fixture(autouse=True, scope='module')
def one_device():
  """Programs for eight would take minutes to compile."""
  make, patch = mesh_lib.make, pytest.MonkeyPatch()
  patch.setattr(
    mesh_lib,
    'make',
    lambda *args, devices=None, **others: make(
      *args, devices=jax.devices()[:1], **others
    ),
  )
  yield
  patch.undo()


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  folder = tmp_path_factory.mktemp('hub')
  for name in NAMES.split('+'):
    hub.write(folder, name, suite_test.asked(name))
  return folder


@pytest.fixture(scope='module')
def imported(tmp_path_factory):
  """A tiny LLaVA-OneVision as a checkpoint."""
  where = tmp_path_factory.mktemp('llava')
  llava.Oracle(where / 'hf', text=dict(num_hidden_layers=3))
  folders.import_(where / 'hf', where / 'ckpt')
  return where / 'ckpt'


def leave(folder, imported, params):
  """What a run from a checkpoint leaves whose policy stage is done."""
  c = config_lib.default()
  c.model.init_from, c.search.max_plans = str(imported), 3
  c.full.steps = c.policy.steps = 4
  c.model.cross_layers, c.model.self_layers = (0,), (1,)  # not by default
  with store.Checkpoints(folder / 'policy/checkpoints') as saved:
    saved.save(4, params(c), {'count': np.zeros(())})
    saved.wait()
  (folder / 'search').mkdir()
  for name, values in (
    ('config.json', identity_lib.identity(c)),
    ('architecture.json', resolve.architecture(c).to_json()),
    ('search/plans.json', dict(viable=[[0], [1]])),
    ('policy/calibration.json', dict(confidence=0.6, curve=[])),
  ):
    (folder / name).write_text(json.dumps(values))
  return folder


def noise(config):
  """The checkpoint's weights; CROSS and router are noise."""
  model, rng = model_lib.build(config), np.random.default_rng(0)
  flat = param_paths.flatten(load.load(config.model.init_from).params)
  fresh = model_lib.init_params(model, 0, mesh_lib.make(), known=flat.keys())
  flat |= {
    path: x + 0.1 * rng.standard_normal(x.shape).astype('float32')
    for path, x in param_paths.flatten(fresh).items()
  }
  return param_paths.unflatten(flat)


@pytest.fixture
def workdir(imported, tmp_path):
  """One whose weights nobody reads."""
  return leave(tmp_path / 'run', imported, lambda c: {'x': np.ones(3)})


@pytest.fixture
def config(data):
  """That of experiments/eval.py, as small as the checkpoint."""
  c = config_lib.default()
  c.jobs, c.data.suite = 'eval+report', ''
  c.model.remat = False
  c.data.prompt.update(text=400, visual=110, tiles=37)
  c.eval.benchmarks, c.eval.data = NAMES, str(data)
  c.eval.max_new_tokens, c.eval.batch, c.eval.chunk = 4, 8, 8
  return c


def run(config, folder, path, plans, **others):
  config = config.copy_and_resolve_references()
  config.eval.checkpoint, config.eval.plans = str(path), plans
  config.eval.update(others)
  table.run_jobs(config, folder)
  return files.read_jsonl(folder / 'results.jsonl')


def answered(folder):
  """{benchmark/plan: rows} of all answers."""
  answers = {}
  for path in sorted((folder / 'eval').rglob('*-*.jsonl')):
    answers.setdefault(str(path.parent.relative_to(folder)), []).extend(
      files.read_jsonl(path)
    )
  return answers


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('evaluated')


def test_a_checkpoint_is_evaluated_on_benchmarks(config, imported, folder):
  rows = run(config, folder, imported, 'base')
  assert [(r['family'], r['group']) for r in rows] == [
    ('docvqa', 'fine'),
    ('mme', 'coarse'),
    ('mmbench', 'coarse'),
  ]
  for row in rows:
    assert row['n'] == 8 and row['scoring'].startswith('lmms-eval 0.7.3, ')
    assert ('judged' in row) == (row['family'] == 'mmbench')
    assert row['selector'] == 'base' and row['flops_saved'] == 1
  assert [r['of'] for r in rows] == [5349, 2374, 4329]
  assert 'perception' in rows[1]['detail']
  assert (folder / 'report/index.html').exists()
  assert {len(v) for v in answered(folder).values()} == {8}


def test_what_does_not_fit_is_said_at_the_start_and_in_results(
  config, imported, tmp_path, capsys
):
  """Before the model is there; and what was asked stays with more slots."""
  (suite,) = {
    test.suite: 0
    for test in test_sets.open_test_sets(
      _evaluating(config, imported, 'mme'), None
    )
  }
  lengths = [suite.prompt('mme', i)[0]['text_segment'].sum() for i in range(8)]
  config.data.prompt.text = int(sorted(lengths)[-2])
  longest = int(np.argmax(lengths))
  (row,) = run(config, tmp_path, imported, 'base', benchmarks='mme')
  assert (row['too_long'], row['broken'], row['n']) == (1, 0, 7)
  printed = capsys.readouterr().out
  note = printed.index('1 of 8 questions of mme do not fit data.prompt; text=')
  assert note < printed.index('job 1 of 2')
  (before,) = answered(tmp_path).values()
  assert [r['index'] for r in before] == [i for i in range(8) if i != longest]
  config.data.prompt.text = 400
  (row,) = run(config, tmp_path, imported, 'base', benchmarks='mme')
  assert row['too_long'] == 0 and row['n'] == 8
  (after,) = answered(tmp_path).values()
  assert [r['index'] for r in after] == list(range(8))
  assert [r for r in after if r['index'] != longest] == before


def test_where_nothing_fits_nothing_begins(config, imported, tmp_path):
  config.data.prompt.text = 3
  with pytest.raises(
    ValueError, match='docvqa has no question to ask: 8 of 8 .* would hold all'
  ):
    run(config, tmp_path / 'w', imported, 'base')
  assert not (tmp_path / 'w').exists()


def _evaluating(config, imported, benchmarks):
  config = config.copy_and_resolve_references()
  config.eval.checkpoint, config.eval.benchmarks = str(imported), benchmarks
  return config


def test_other_weights_or_questions_are_refused(
  config, imported, folder, workdir
):
  config.eval.checkpoint, config.eval.plans = str(imported), 'base'
  tests = test_sets.open_test_sets(config, None)
  digests = test_sets.fingerprints(config, tests)
  assert set(digests) == {
    'eval/docvqa',
    'eval/mme',
    'eval/mmbench',
    'checkpoint',
  }
  assert json.loads((folder / 'data.json').read_text()) == digests
  config.eval.checkpoint = str(workdir)
  other = test_sets.fingerprints(config, tests)
  assert other.pop('checkpoint') != digests.pop('checkpoint')
  assert other == digests


def test_a_checkpoint_is_evaluated_as_what_it_says_of_itself(
  config, workdir, imported
):
  """The config has other layers by default, and more plans."""
  config.eval.checkpoint, config.eval.plans = str(workdir), 'base+all+router'
  validate.validate(config)
  test_sets.check_answerable(config)
  model = resolve.architecture(config)
  layout = model.layout
  assert layout.kinds == ('cross', 'self', 'text') and layout.optional == (1,)
  assert resolve.origin(config) == str(imported) and model.router.plans == 3


def test_a_config_that_says_something_else_is_refused(config, workdir):
  config.eval.checkpoint, config.eval.plans = str(workdir), 'base'
  config.model.self_layers = (2,)
  with pytest.raises(
    ValueError, match=r'self_layers: here \(2,\), there \(1,\)'
  ):
    validate.validate(config)


def test_only_the_words_of_others_need_a_tokenizer(
  config, workdir, monkeypatch
):
  """The run of a built-in suite has none, and answers another test of it."""
  alone = dataclasses.replace(load.locate(workdir), origin='')
  monkeypatch.setattr(load, 'locate', lambda path: alone)
  config.eval.checkpoint, config.eval.plans = str(workdir), 'router'
  with pytest.raises(ValueError, match='has no tokenizer'):
    test_sets.check_answerable(config)
  config.eval.benchmarks, config.data.suite = '', 'pages'
  test_sets.check_answerable(config)


@pytest.mark.parametrize(
  'change,match',
  [
    (dict(plans='all'), 'are not trained: cross; set it to base'),
    (dict(plans='router'), 'not trained: router'),
    (dict(plans='base + router'), 'not trained: router'),
    (dict(benchmarks='docvq'), '"docvq" is none of docvqa'),
    (dict(data='/no/such'), 'benchmark docvqa: /no/such/docvqa has no DocVQA'),
    (dict(path='/no/such'), '/no/such is neither a workdir nor'),
  ],
)
def test_what_cannot_be_evaluated_is_named(
  config, imported, tmp_path, change, match
):
  change = dict(path=imported, plans='base') | change
  with pytest.raises(ValueError, match=match):
    run(config, tmp_path, **change)
  assert not (tmp_path / 'results.jsonl').exists()


def test_a_checkpoint_is_evaluated_and_not_trained(config, imported, tmp_path):
  config.jobs = 'all'
  with pytest.raises(ValueError, match='jobs "all" means label, search, too'):
    run(config, tmp_path, imported, 'base')


# By hand ---------------------------------------------------------------------


@pytest.mark.drill
def test_a_run_is_evaluated_under_every_plan(config, imported, tmp_path):
  """And its answers do not depend on the size of a batch."""
  workdir = leave(tmp_path / 'run', imported, noise)
  rows = run(config, tmp_path / 'a', workdir, 'base+all+router')
  kind = lambda r: (r['family'], r['selector'], str(r['plan']))
  assert len({kind(r) for r in rows}) == len(rows) == 3 * 4
  assert all((r['flops_saved'] == 1) == (r['selector'] == 'base') for r in rows)
  run(config, tmp_path / 'b', workdir, 'max+router', batch=3, chunk=5)
  at_once, parts = answered(tmp_path / 'a'), answered(tmp_path / 'b')
  for folder_name, rows in parts.items():
    assert sorted(rows, key=lambda r: r['index']) == at_once[folder_name]
  # The base of a run is what it started from.
  run(config, tmp_path / 'c', imported, 'base')
  for folder_name, rows in answered(tmp_path / 'c').items():
    assert rows == at_once[folder_name]

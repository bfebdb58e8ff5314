"""A run that started from LLaVA-OneVision can be asked, and taken back."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from tests import llava
import visor_jax
from visor_jax import config as config_lib
from visor_jax.checkpoint import load
from visor_jax.checkpoint import resolve
from visor_jax.checkpoint import run
from visor_jax.checkpoint import store
from visor_jax.convert import folders
from visor_jax.convert import reader
from visor_jax.jobs import test_sets
from visor_jax.jobs import validate
from visor_jax.runtime import identity as identity_lib
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import inputs as inputs_lib
from visor_jax.training import program as train_program
from visor_jax.training import weights


@pytest.fixture(scope='module')
def imported(tmp_path_factory):
  """Folders of a tiny LLaVA-OneVision, in its dtype and as a checkpoint."""
  where = tmp_path_factory.mktemp('llava')
  llava.Oracle(where / 'hf', text=dict(num_hidden_layers=6), dtype='bfloat16')
  folders.import_(where / 'hf', where / 'ckpt')
  return where / 'hf', where / 'ckpt'


@pytest.fixture(scope='module')
def config(imported):
  c = config_lib.default()
  c.model.init_from = str(imported[1])
  c.model.size = ''  # the checkpoint says it
  c.cross.steps = c.full.steps = c.policy.steps = 4
  c.search.max_plans = 3
  return c


def program(config):
  devices = jax.devices()[:1]
  return train_program.build(config, 'cross', mesh_lib.make(devices=devices))


@pytest.fixture(scope='module')
def start(config):
  """Parameters as a run that starts from the checkpoint has them."""
  return weights.imported(program(config), load.locate(config.model.init_from))


@pytest.fixture(scope='module')
def workdir(config, start, tmp_path_factory):
  """What a run leaves whose policy stage is done; its weights are noise."""
  folder = tmp_path_factory.mktemp('run')
  rng = np.random.default_rng(0)
  flat = {
    path: x
    if path.startswith('vision')
    else x + 0.1 * rng.standard_normal(x.shape).astype('float32')
    for path, x in param_paths.flatten(start).items()
  }
  write = lambda name, values: (folder / name).write_text(json.dumps(values))
  write('config.json', identity_lib.identity(config))
  write('architecture.json', resolve.architecture(config).to_json())
  for stage in ('cross', 'full', 'policy'):
    with store.Checkpoints(folder / stage / 'checkpoints') as saved:
      saved.save(4, param_paths.unflatten(flat), {'count': np.zeros(())})
      saved.wait()
  (folder / 'search').mkdir()
  write('search/plans.json', dict(viable=[[0, 0], [1, 0], [1, 1]]))
  write(
    'policy/calibration.json',
    dict(
      confidence=0.6,
      curve=[
        dict(confidence=c, share=s, accuracy=s / 2, retained=c, flops=9)
        for c, s in ((0, 0.3), (0.5, 0.6), (1, 1.1))
      ],
    ),
  )
  return folder


def test_training_starts_from_the_checkpoint(start, imported):
  """In float32 masters; CROSS and the router, which it lacks, start fresh."""
  flat = param_paths.flatten(start)
  source = param_paths.flatten(load.load(imported[1]).params)
  assert {str(x.dtype) for x in flat.values()} == {'float32'}
  assert {str(x.dtype) for x in source.values()} == {'bfloat16'}
  for path, x in source.items():
    np.testing.assert_array_equal(flat[path], x.astype('float32'), path)
  fresh = {
    p.split('/')[0] + '/' + p.split('/')[1] for p in flat if (p not in source)
  }
  assert fresh >= {'llm/cross', 'router/token'}
  assert not flat['llm/cross/out'].any() and flat['llm/cross/query'].any()


def test_a_checkpoint_that_does_not_fit_is_named(config):
  fits = program(config)
  params = param_paths.flatten(fits.params)
  params['llm/embedding'] = jax.ShapeDtypeStruct(
    (3, 2), 'float32', sharding=params['llm/embedding'].sharding
  )
  other = dataclasses.replace(fits, params=param_paths.unflatten(params))
  with pytest.raises(ValueError, match=r'llm/embedding is \(.*expected \(3, 2'):
    weights.imported(other, load.locate(config.model.init_from))


def test_a_run_is_asked_with_its_router(workdir):
  """And answers as its export does, which transformers' files went with."""
  image, prompt = llava.picture(45, 62), 'What is the colour of the car?'
  model = visor_jax.load(workdir)
  assert model.facts.trained == ('cross', 'decoder', 'router')
  assert model.facts.confidence == 0.6
  got = model.generate([image], prompt, max_new_tokens=6)
  assert got.selector == 'router' and got.plan in model.facts.viable
  again = workdir / 'hf'
  folders.export(workdir, again)
  back = visor_jax.load(again)
  # bfloat16 is what the export has; a near tie may fall the other way.
  a, b = (m.logits([image], prompt, 'max') for m in (model, back))
  assert np.abs(a - b).max() < 0.1 * np.abs(a).max()
  assert tuple(point[:4] for point in model.facts.curve) == (
    (0, 0.3, 0.15, 0),
    (0.5, 0.6, 0.3, 0.5),
    (1, 1.1, 0.55, 1),
  )
  assert back.facts == model.facts


def test_a_run_is_asked_with_the_ground_that_it_was_trained_on(
  workdir, tmp_path
):
  """Of transparent images, whatever the one who asks would put there."""
  assert visor_jax.load(workdir).processor.transparency == 'white'
  other = tmp_path / 'run'
  shutil.copytree(workdir, other)
  saved = json.loads((other / 'config.json').read_text())
  saved['data.transparency'] = 'stored'
  (other / 'config.json').write_text(json.dumps(saved))
  assert load.locate(other).facts.transparency == 'stored'
  assert visor_jax.load(other).processor.transparency == 'stored'
  config = config_lib.default()
  config.data.suite, config.eval.checkpoint = '', str(other)
  config.jobs, config.eval.plans = 'eval', 'base'
  with pytest.raises(
    ValueError, match='data.transparency is "white", but .* with "stored"'
  ):
    test_sets.check_answerable(config)
  config.data.transparency = 'stored'
  test_sets.check_answerable(config)


def test_layers_that_learned_beside_cross_are_no_base(workdir):
  """They are asked as all that runs together, where nothing else is said."""
  model, image = visor_jax.load(workdir), llava.picture(45, 62)
  for ask in (model.generate, model.logits):
    with pytest.raises(ValueError, match='"base": .* no dense model any more'):
      ask([image], 'What?', plan='base')
  np.testing.assert_array_equal(
    model.logits([image], 'What?'), model.logits([image], 'What?', plan='max')
  )


def test_the_last_finished_stage_counts(workdir, tmp_path):
  """A router that was never calibrated does not choose."""
  (workdir / 'policy/calibration.json').rename(tmp_path / 'calibration.json')
  try:
    assert reader.read(workdir).facts.trained == ('cross', 'decoder')
  finally:
    (tmp_path / 'calibration.json').rename(workdir / 'policy/calibration.json')


def test_a_run_starts_from_a_run_with_the_model_that_it_is(
  workdir, imported, tmp_path
):
  """Its base is that of the first, which came from an import."""
  c = config_lib.default()
  c.model.init_from, c.full.steps = str(workdir), 2
  mesh = mesh_lib.make(devices=jax.devices()[:1])
  full = train_program.build(c, 'full', mesh)
  assert full.model.architecture == load.locate(workdir).facts.architecture
  inputs = inputs_lib.Inputs(c, workdir_lib.Workdir(tmp_path), mesh, None)
  left = param_paths.flatten(load.load(workdir).params)
  first = param_paths.flatten(weights.first(full, inputs))
  assert left.keys() == first.keys()
  for path, x in left.items():
    np.testing.assert_array_equal(first[path], x, path)
  base = param_paths.flatten(weights.restore('base', inputs))
  for path, x in param_paths.flatten(load.load(imported[1]).params).items():
    np.testing.assert_array_equal(base[path], x.astype('float32'), path)
  assert resolve.origin(c) == str(imported[1])


def test_a_run_without_a_result_says_so(config, tmp_path):
  (tmp_path / 'config.json').write_text(
    json.dumps(identity_lib.identity(config))
  )
  assert run.is_run(tmp_path)
  with pytest.raises(ValueError, match='no training stage is finished'):
    reader.read(tmp_path)


def test_a_start_that_is_not_there_is_named(config):
  other = config.copy_and_resolve_references()
  other.model.init_from = '/no/such'
  with pytest.raises(ValueError, match='model.init_from is /no/such.*convert'):
    validate.validate(other)

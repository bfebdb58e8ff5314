"""A checkpoint's own word counts: its model is never that of a config."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest

from tests import published
from tests import trained
from visor_jax import config as config_lib
from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import load
from visor_jax.checkpoint import resolve
from visor_jax.data.suites import sizes as suite_sizes
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib
from visor_jax.training import inputs as inputs_lib
from visor_jax.training import program as program_lib
from visor_jax.training import weights

# What a config may state that the checkpoint is not, and what it is.
OTHERS = {
  'model.size': ('0.5b', 'language.width=896', 'language.width=32'),
  'model.cross_layers': ((0, 5), '(0, 5)', '(1, 3)'),
  'model.self_layers': ((1, 4), '(1, 4)', '(2, 4)'),
  'model.cross.module': ('mine', "'mine'", "'attention'"),
  'model.cross.key_heads': ('base', "'base'", "'full'"),
  'model.cross.norm': (True, 'True', 'False'),
  'model.cross.rope': (False, 'False', 'True'),
  'model.cross.conv': (True, 'True', 'False'),
  'model.last_visual': (True, 'True', 'False'),
  'model.reduce': ('', "''", "'pack:2'"),
  'model.router.token': ('learned', "'learned'", "'last'"),
  'model.router.hidden': (128, '128', '6'),
  'search.max_plans': (9, '9', '3'),
}


def put(config, key, value):
  *groups, name = key.split('.')
  for group in groups:
    config = config[group]
  with config.ignore_type():
    config[name] = value


def make(**checkpoint):
  """A config that leaves all open, and names a checkpoint."""
  config = config_lib.default()
  config.search.max_plans = 3
  for key, path in checkpoint.items():
    put(
      config,
      dict(start='model.init_from', asked='eval.checkpoint')[key],
      str(path),
    )
  return config


@pytest.fixture(scope='module')
def imported(tmp_path_factory):
  return trained.base(tmp_path_factory.mktemp('base'))


@pytest.fixture(scope='module')
def checkpoint(imported, tmp_path_factory):
  return trained.checkpoint(tmp_path_factory.mktemp('visor') / 'all', imported)


@pytest.fixture(scope='module')
def crosses(imported, tmp_path_factory):
  """Its router has not been trained."""
  folder = tmp_path_factory.mktemp('visor') / 'cross'
  return trained.checkpoint(folder, imported, trained=(facts_lib.CROSS,))


@pytest.fixture(scope='module')
def known(checkpoint):
  return load.locate(checkpoint).facts.architecture


@pytest.mark.parametrize('key', ['start', 'asked'])
def test_what_a_config_leaves_open_is_the_checkpoints(key, checkpoint, known):
  assert resolve.architecture(make(**{key: checkpoint})) == known
  for field in dataclasses.fields(known):  # and never by chance
    if field.name not in ('size', 'family'):
      value = getattr(known, field.name)
      assert value != getattr(resolve.architecture(make()), field.name)


def test_what_a_config_states_may_be_what_the_checkpoint_is(checkpoint, known):
  config = make(start=checkpoint)
  m = config.model
  m.cross_layers, m.self_layers, m.reduce = (3, 1), (2, 4), 'pack:2'
  m.cross.rope, m.last_visual, m.router.token = True, False, 'last'
  assert resolve.architecture(config) == known


@pytest.mark.parametrize('start', ['start', 'asked'])
@pytest.mark.parametrize('key', list(OTHERS))
def test_another_word_is_refused_with_both_values(start, key, checkpoint):
  stated, here, there = OTHERS[key]
  config = make(**{start: checkpoint})
  put(config, key, stated)
  if (start, key) == ('asked', 'search.max_plans'):  # there is no search
    resolve.architecture(config)
    return
  with pytest.raises(
    ValueError, match='is not that of ' + str(checkpoint)
  ) as e:
    resolve.architecture(config)
  (line,) = re.findall(r'^  (\S+): here (.*), there (.*)$', str(e.value), re.M)
  assert line[0] == key and here in line[1] and there in line[2]


def test_all_that_differs_is_one_error_each_key_once(checkpoint):
  config = make(start=checkpoint)
  for key, (stated, *_) in OTHERS.items():
    put(config, key, stated)
  with pytest.raises(ValueError) as e:
    resolve.architecture(config)
  assert re.findall(r'^  (\S+): ', str(e.value), re.M) == sorted(OTHERS)


def test_the_size_of_a_checkpoint_has_its_own_vocabulary(
  checkpoint, known, monkeypatch
):
  language = dataclasses.replace(known.size.language, vocabulary=99)
  named = dataclasses.replace(known.size, language=language)
  monkeypatch.setitem(suite_sizes.SIZES, 'named', named)
  config = make(start=checkpoint)
  config.model.size = 'named'
  assert resolve.architecture(config) == known


def test_what_has_not_been_trained_stays_open(imported, crosses, known):
  """A base takes any VISOR, trained CROSS layers take any router."""
  config = make(start=imported)
  fresh = resolve.architecture(config)
  assert fresh == architecture_lib.Architecture(
    known.size,
    plans.visor(trained.DEPTH),
    router=architecture_lib.RouterOptions(plans=3),
  )
  for key, (stated, *_) in OTHERS.items():
    if key not in ('model.size', 'model.cross.module'):
      put(config, key, stated)
  config.model.reduce = 'm3:2'
  assert resolve.architecture(config).layout.indices('cross') == (0, 5)
  config = make(start=crosses)
  config.model.router.token, config.model.router.hidden = 'visual', 7
  config.search.max_plans = 5
  assert resolve.architecture(config) == dataclasses.replace(
    known, router=architecture_lib.RouterOptions('visual', 7, 5)
  )
  config.model.cross.rope = False
  with pytest.raises(ValueError, match='model.cross.rope: here False, there'):
    resolve.architecture(config)


def test_a_reduction_that_a_base_was_trained_with_stays_its_word(
  imported, tmp_path
):
  values = json.loads((imported / 'visor.json').read_text())
  values['architecture']['reduction'] = 'pack:2'
  (tmp_path / 'visor.json').write_text(json.dumps(values))
  assert resolve.architecture(make(start=tmp_path)).reduction == 'pack:2'
  config = make(start=tmp_path)
  config.model.reduce = ''
  with pytest.raises(ValueError, match="model.reduce: here '', there 'pack:2'"):
    resolve.architecture(config)


def test_without_a_checkpoint_the_config_says_it_all():
  config = make()
  layout = resolve.architecture(config).layout
  assert resolve.architecture(config).size == published.SIZES['0.5b']
  assert layout == plans.visor(24)
  config.model.self_layers = (1,)
  with pytest.raises(ValueError, match='layer 1 is named twice'):
    resolve.architecture(config)


@pytest.mark.parametrize(
  'key,name', [('start', 'model.init_from'), ('asked', 'eval.checkpoint')]
)
def test_a_checkpoint_that_is_none_is_named_with_its_key(key, name, tmp_path):
  config = make(**{key: tmp_path})
  with pytest.raises(ValueError, match=f'{name} is {tmp_path}: .*neither'):
    resolve.architecture(config)


def test_a_workdir_is_of_one_model(known, tmp_path):
  folder = workdir_lib.Workdir(tmp_path)
  resolve.keep(folder, known)
  resolve.keep(folder, known)
  other = dataclasses.replace(known, layout=plans.visor(6, (0, 5), (2, 4)))
  with pytest.raises(
    ValueError, match=rf'{tmp_path}:\n  model.cross_layers: here \(0, 5\), th'
  ):
    resolve.keep(folder, other)
  with pytest.raises(ValueError, match="family: here 'mine', there 'llava"):
    resolve.keep(folder, dataclasses.replace(known, family='mine'))


# Started from ----------------------------------------------------------------


def first(config, stage, tmp_path):
  """The program of a stage, and what it starts from."""
  mesh = mesh_lib.make(devices=jax.devices()[:1])
  program = program_lib.build(config, stage, mesh, packed=False)
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
  config = make(start=checkpoint)
  config[stage].steps, config.model.cross.init = 2, init
  program, params = first(config, stage, tmp_path)
  assert program.model.architecture == known
  assert program.reductions(0) == ('pack:2',)
  saved = param_paths.flatten(load.load(checkpoint).params)
  assert params.keys() == saved.keys()
  for path, x in saved.items():
    np.testing.assert_array_equal(params[path], x, path)


def test_a_router_that_was_not_trained_starts_fresh(crosses, tmp_path):
  config = make(start=crosses)
  config.policy.steps, config.model.router.hidden = 2, 7
  _, params = first(config, 'policy', tmp_path)
  saved = param_paths.flatten(load.load(crosses).params)
  assert not any(path.startswith('router') for path in saved)
  assert params['router/bias'].shape == (3,) and any(
    7 in x.shape for path, x in params.items() if path.startswith('router')
  )
  for path, x in saved.items():
    np.testing.assert_array_equal(params[path], x, path)

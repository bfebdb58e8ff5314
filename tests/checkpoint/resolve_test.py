"""A checkpoint's own word counts: its model is never that of a config."""

import dataclasses
import json
import re

import pytest

from tests import published
from tests import trained
from visor_jax.checkpoint import resolve
from visor_jax.data.suites import sizes as suite_sizes
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import workdir as workdir_lib

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


@pytest.mark.parametrize('key', ['start', 'asked'])
def test_what_a_config_leaves_open_is_the_checkpoints(key, checkpoint, known):
  assert resolve.architecture(trained.config(**{key: checkpoint})) == known
  for field in dataclasses.fields(known):  # and never by chance
    if field.name not in ('size', 'family'):
      value = getattr(known, field.name)
      assert value != getattr(
        resolve.architecture(trained.config()), field.name
      )


def test_what_a_config_states_may_be_what_the_checkpoint_is(checkpoint, known):
  config = trained.config(start=checkpoint)
  m = config.model
  m.cross_layers, m.self_layers, m.reduce = (3, 1), (2, 4), 'pack:2'
  m.cross.rope, m.last_visual, m.router.token = True, False, 'last'
  assert resolve.architecture(config) == known


@pytest.mark.parametrize('start', ['start', 'asked'])
@pytest.mark.parametrize('key', list(OTHERS))
def test_another_word_is_refused_with_both_values(start, key, checkpoint):
  stated, here, there = OTHERS[key]
  config = trained.config(**{start: checkpoint})
  trained.put(config, key, stated)
  with pytest.raises(
    ValueError, match='is not that of ' + str(checkpoint)
  ) as e:
    resolve.architecture(config)
  (line,) = re.findall(r'^  (\S+): here (.*), there (.*)$', str(e.value), re.M)
  assert line[0] == key and here in line[1] and there in line[2]


def test_all_that_differs_is_one_error_each_key_once(checkpoint):
  config = trained.config(start=checkpoint)
  for key, (stated, *_) in OTHERS.items():
    trained.put(config, key, stated)
  with pytest.raises(ValueError) as e:
    resolve.architecture(config)
  assert re.findall(r'^  (\S+): ', str(e.value), re.M) == sorted(OTHERS)


def test_the_size_of_a_checkpoint_has_its_own_vocabulary(
  checkpoint, known, monkeypatch
):
  language = dataclasses.replace(known.size.language, vocabulary=99)
  named = dataclasses.replace(known.size, language=language)
  monkeypatch.setitem(suite_sizes.SIZES, 'named', named)
  config = trained.config(start=checkpoint)
  config.model.size = 'named'
  assert resolve.architecture(config) == known


def test_what_has_not_been_trained_stays_open(imported, crosses, known):
  """A base takes any VISOR, trained CROSS layers take any router."""
  config = trained.config(start=imported)
  fresh = resolve.architecture(config)
  assert fresh == architecture_lib.Architecture(
    known.size,
    plans.visor(trained.DEPTH),
  )
  for key, (stated, *_) in OTHERS.items():
    if key not in ('model.size', 'model.cross.module'):
      trained.put(config, key, stated)
  config.model.reduce = 'm3:2'
  assert resolve.architecture(config).layout.indices('cross') == (0, 5)
  config = trained.config(start=crosses)
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
  assert (
    resolve.architecture(trained.config(start=tmp_path)).reduction == 'pack:2'
  )
  config = trained.config(start=tmp_path)
  config.model.reduce = ''
  with pytest.raises(ValueError, match="model.reduce: here '', there 'pack:2'"):
    resolve.architecture(config)


def test_without_a_checkpoint_the_config_says_it_all():
  config = trained.config()
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
  config = trained.config(**{key: tmp_path})
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

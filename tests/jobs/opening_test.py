"""A run before its first job: what it claims, and what it refuses."""

import json

import pytest

from tests import tiny
from visor_jax.jobs import opening
from visor_jax.runtime import identity
from visor_jax.training import stages


def config(**changes):
  """That of the tiny recipe; '__' stands for the dot."""
  c = tiny.get_config()
  for key, value in changes.items():
    *groups, last = key.split('__')
    node = c
    for group in groups:
      node = node[group]
    node[last] = value
  return c


def claim(folder, **changes):
  with opening.open_run(config(**changes), folder) as run:
    return run.workdir


def leave(workdir, *finished):
  for stage in finished:
    (workdir.checkpoints(stage) / '12').mkdir(parents=True)


@pytest.mark.parametrize(
  'changes,words',
  [
    (dict(seed=-1), 'seed is -1'),
    (dict(data__suite=''), 'data.sources need the tokenizer'),
    (dict(eval__benchmarks='docvqa'), 'eval.benchmarks need the tokenizer'),
    (dict(eval__batch=3), 'eval'),
    (dict(policy__steps=0, eval__plans='max+ router'), 'leave router out'),
    (dict(policy__steps=0, eval__plans=' router@0.9'), 'leave router@0.9 out'),
    (dict(eval__checkpoint='/no/such'), '/no/such'),
  ],
)
def test_a_first_try_that_is_refused_leaves_nothing(tmp_path, changes, words):
  folder = tmp_path / 'run'
  with pytest.raises(ValueError, match=words):
    claim(folder, **changes)
  assert not folder.exists()


def test_before_there_are_results_a_workdir_is_of_no_config(tmp_path):
  """One who sees after a minute that the size is wrong starts again."""
  workdir = claim(tmp_path)
  claim(tmp_path, seed=3, model__router__hidden=8, model__cross__rope=True)
  saved = json.loads(workdir.config.read_text())
  assert saved['seed'] == 3 and saved['model.cross.rope'] is True
  architecture = json.loads(workdir.architecture.read_text())
  assert architecture['router']['hidden'] == 8


def test_what_results_depend_on_is_held_fast(tmp_path):
  workdir = claim(tmp_path)
  leave(workdir, 'base', 'cross')
  with pytest.raises(ValueError) as e:
    claim(tmp_path, cross__learning_rate=3e-4, full__learning_rate=3e-4)
  text = str(e.value)
  assert 'cross.learning_rate: here 0.0003, in the workdir 0.001' in text
  assert 'results of cross depend on it' in text and '--workdir' in text
  assert 'full.learning_rate' not in text  # nothing depends on it yet
  saved = json.loads(workdir.config.read_text())
  assert saved['full.learning_rate'] == 0.001  # a refused try leaves nothing


def test_other_keys_may_change_and_are_kept(tmp_path):
  """README: a finished run is asked under other plans."""
  workdir = claim(tmp_path)
  leave(workdir, *stages.STAGES)
  claim(tmp_path, eval__plans='max+router@0.9', eval__examples=64)
  saved = json.loads(workdir.config.read_text())
  assert (
    saved['eval.plans'] == 'max+router@0.9' and saved['eval.examples'] == 64
  )
  with pytest.raises(ValueError, match="eval.score: here 'anls'"):
    claim(tmp_path, eval__score='anls')


def test_a_test_that_is_learned_from_is_told():
  """Whatever its name is in either."""
  digests = {'full/chat': 'a', 'label/ocr': 'b', 'test/chat': 'c'}
  assert not list(opening._learned_tests(digests))
  tests = {'test/held-out': 'a', 'test/more': 'b'}
  assert list(opening._learned_tests(digests | tests)) == [
    ('test/held-out', 'full/chat'),
    ('test/more', 'label/ocr'),
  ]


def test_the_saved_config_tells_the_stages_in_their_order(tmp_path):
  """By it a checkpoint's reader knows which stage was the last."""
  keys = dict(connector__steps=1)
  saved = json.loads(claim(tmp_path, **keys).config.read_text())
  steps = [key for key in saved if key.endswith('.steps')]
  assert steps == [f'{stage}.steps' for stage in stages.STAGES]
  assert saved == identity.identity(config(**keys))

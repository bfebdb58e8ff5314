"""Names are the field's words: those that are gone stay gone.

Names in the code, not prose. One word means one thing, and a name says what it
holds.
"""

import ast
import pathlib

import pytest

from visor_jax import config as config_lib
from visor_jax.training import stages

ROOT = pathlib.Path(__file__).parents[1]
FILES = sorted(
  path
  for folder in ('visor_jax', 'launch', 'experiments')
  for path in (ROOT / folder).rglob('*.py')
)

NOUN = 'the noun that it holds'
# {a word that is no name of anything: what says it}
GONE = {
  **dict.fromkeys(
    ('found', 'said', 'some', 'own', 'whole', 'made', 'came', 'told'), NOUN
  ),
  'kept': 'what is kept, or take_slots',
  'luck': 'question_hash',
  'look': 'layerwise',
  'desk': 'AnalysisRun',
  'paper': 'abstract, or compiled',
  'roll': 'roll_call',
  'dearest': 'most_expensive',
  'Desk': 'AnalysisRun',
  'Kept': 'KeptSlots',
  'Memory': 'DecodeState',
  'Paper': 'TrainProgram',
  'Skipped': 'NonFiniteSteps',
  'Stream': 'HiddenStates',
  'Subject': 'ModelUnderTest',
  'Tally': 'BadRecordCounter',
  'Wait': 'InputWaitMeter',
  'row_ways': 'num_batch_shards',
}
# (file, word): where the word is the field's.
ALLOWED = {
  ('visor_jax/data/suites/digits.py', 'paper'),  # the digits are written on it
  ('visor_jax/data/suites/handwriting.py', 'paper'),
}
KEYS = {
  'model.start': 'model.init_from',
  'model.saves': 'model.remat_policy',
  'STAGE.final': 'STAGE.end_lr_fraction',
  'STAGE.whole': 'STAGE.full_token_fraction',
  'data.row': 'data.packed',
  'data.bad': 'data.max_bad_fraction',
  'data.ahead': 'data.prefetch',
  'optim.patience': 'optim.max_nonfinite_steps',
  'optim.rates': 'optim.lr_scales',
  'eval.tokens': 'eval.max_new_tokens',
  'compiled': 'compilation_cache',
  'stage': 'jobs',
}


def names(tree):
  """(name, line) of whatever a file gives a name to."""
  for node in ast.walk(tree):
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
      yield node.name, node.lineno
    elif isinstance(node, ast.Name | ast.Attribute):
      if isinstance(node.ctx, ast.Store):
        name = node.id if isinstance(node, ast.Name) else node.attr
        yield name, node.lineno
    elif isinstance(node, ast.arg):
      yield node.arg, node.lineno
    elif isinstance(node, ast.alias):
      yield (node.asname or node.name.split('.')[-1]), node.lineno


def complaints(text, file):
  """What is wrong with the names of a file."""
  return [
    f'{file}:{line}: {name}; say {GONE[name.lstrip("_")]}'
    for name, line in names(ast.parse(text))
    if name.lstrip('_') in GONE and (file, name.lstrip('_')) not in ALLOWED
  ]


def test_words_that_are_gone_name_nothing():
  gone = [path.name for path in FILES if path.stem in GONE]
  for path in FILES:
    gone += complaints(path.read_text(), str(path.relative_to(ROOT)))
  assert not gone, '\n'.join(gone)


def test_keys_that_are_gone_are_no_keys():
  config = config_lib.default()
  for key, instead in KEYS.items():
    group, _, name = key.rpartition('.')
    groups = stages.STAGES if group == 'STAGE' else [group]
    for group in groups:
      keys = config[group] if group else config
      assert name not in keys, f'{key} is {instead}'


@pytest.mark.parametrize(
  'text',
  [
    'found = []',
    'for said in x: pass',
    'def _own(): pass',
    'def f(luck=None): pass',
    'class Subject: pass',
    'self.kept = 1',
    'import x as desk',
    'from x import roll',
  ],
)
def test_a_word_that_is_gone_is_seen(text):
  """A test that lets everything through would pass for ever."""
  assert complaints(text, 'x.py')


@pytest.mark.parametrize('text', ['x.kept', 'print(found)', "'found'", '# own'])
def test_what_others_name_and_prose_are_free(text):
  assert not complaints(text, 'x.py')

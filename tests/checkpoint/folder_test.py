"""Checkpoint folders: what is saved is what is read."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from tests import published
from tests import trained
from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import folder
from visor_jax.checkpoint import load
from visor_jax.runtime import errors
from visor_jax.runtime import param_paths
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import budget
from visor_jax.spec import plan as plans

PARAMS = {
  'llm': {
    'norm': {'scale': jnp.arange(3, dtype=jnp.bfloat16)},
    'cross': {'query': jnp.ones((2, 4))},
  },
  'router': {'bias': jnp.zeros(3)},
}


def facts(*parts):
  base = architecture_lib.Architecture(published.SIZES['0.5b'], plans.base(24))
  return facts_lib.Facts(
    trained.architecture(base, 24) if parts else base,
    viable=((False, False), (True, True)) if parts else (),
    confidence=0.25,
    trained=parts,
    curve=(budget.Point(0.0, 0.3, 0.4, 0.4), budget.Point(1.0, 1.1, 0.9, 1.0)),
  )


def test_facts_come_back_through_json():
  all_trained = facts(*trained.BOTH)
  text = json.dumps(all_trained.to_json())
  assert facts_lib.from_json(json.loads(text), 'here') == all_trained


def test_facts_of_another_format_are_refused():
  values = facts().to_json() | {'format': 1}
  with pytest.raises(ValueError, match='here is of format 1; .* format 2'):
    facts_lib.from_json(values, 'here')


@pytest.mark.parametrize(
  'values,why',
  [
    (dict(confidence=5), '"confidence" is 5; expected a number from 0 to 1'),
    (dict(confidence=float('nan')), '"confidence" is nan'),
    (dict(viable=[[0, 0]]), 'viable plans are min; expected .* max last'),
    (dict(viable=[[0], [1]]), r'viable plan \[0\]: expected .* of the 2'),
    (dict(curve=[[0, 0.3, 0.5, 1]]), 'expected that they rise from 0 to 1'),
    (dict(curve=[0]), 'argument after'),
  ],
)
def test_facts_that_cannot_be_are_refused(values, why):
  stated = facts(*trained.BOTH).to_json() | values
  with pytest.raises(errors.Refusal, match=f'here: .*{why}'):
    facts_lib.from_json(stated, 'here')


@pytest.mark.parametrize(
  'parts,paths',
  [
    (trained.BOTH, {'llm/norm/scale', 'llm/cross/query', 'router/bias'}),
    ((facts_lib.CROSS,), {'llm/norm/scale', 'llm/cross/query'}),
    ((), {'llm/norm/scale'}),
  ],
)
def test_what_is_saved_is_read_but_for_what_never_learned(
  parts, paths, tmp_path
):
  """Fresh weights would look as if they were worth something."""
  folder.save(tmp_path / 'a', PARAMS, facts(*parts))
  read = load.load(tmp_path / 'a')
  assert read.facts == facts(*parts) and read.processor is None
  flat = param_paths.flatten(read.params)
  assert set(flat) == paths
  for path, x in flat.items():
    saved = param_paths.flatten(PARAMS)[path]
    assert x.dtype == saved.dtype
    np.testing.assert_array_equal(x, saved)
  wide = param_paths.flatten(load.load(tmp_path / 'a', dtype='float32').params)
  assert {str(x.dtype) for x in wide.values()} == {'float32'}


def test_a_folder_has_the_files_of_its_processor(tmp_path):
  def write(path):
    path.mkdir(parents=True)
    (path / 'tokenizer.json').write_text('{}')

  folder.save(tmp_path / 'a', PARAMS, facts(), write)
  location = load.locate(tmp_path / 'a')
  assert location.processor == tmp_path / 'a' / 'hf'
  assert (location.processor / 'tokenizer.json').read_text() == '{}'
  assert location.origin == str(tmp_path / 'a')
  assert load.locate_base(tmp_path / 'a') == location


def test_what_is_there_is_never_overwritten(tmp_path):
  folder.save(tmp_path / 'a', PARAMS, facts())
  with pytest.raises(ValueError, match='is there already; name a new folder'):
    folder.save(tmp_path / 'a', PARAMS, facts())
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError, match='is there already'):
    folder.require_new(tmp_path / 'file')
  (tmp_path / 'empty').mkdir()
  assert folder.require_new(tmp_path / 'empty') == tmp_path / 'empty'


def test_bad_weights_are_named(tmp_path):
  folder.save(tmp_path / 'a', PARAMS, facts())
  file = next((tmp_path / 'a/checkpoints/0').rglob('d/*'))
  file.write_bytes(file.read_bytes()[:-1])
  with pytest.raises(ValueError, match='checkpoints/0 is not good'):
    load.load(tmp_path / 'a')

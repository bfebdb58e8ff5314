"""What a workdir knows of the data it was begun with."""

import json

import pytest

from tests import tiny
from visor_jax.runtime import checksums
from visor_jax.runtime import claim
from visor_jax.runtime import errors
from visor_jax.runtime import identity
from visor_jax.spec import workdir as workdir_lib


def test_changed_data_is_named(tmp_path):
  """Sources that this start does not use are kept in mind."""
  claim.check_same_data(tmp_path, {'full/ocr': 'a', 'full/charts': 'b'})
  claim.check_same_data(tmp_path, {'full/ocr': 'a', 'test/ocr': 'c'})
  claim.check_same_data(tmp_path, {})
  for changed in (
    {'full/ocr': 'x'},
    {'full/charts': 'x', 'full/ocr': 'a'},
    {'test/ocr': 'a'},
  ):
    (name,) = (k for k, v in changed.items() if v != 'a' or k == 'test/ocr')
    with pytest.raises(ValueError, match=f'the data of {name} is not'):
      claim.check_same_data(tmp_path, changed)
  claim.check_same_data(tmp_path, {'full/ocr': 'a', 'full/charts': 'b'})


def test_a_suite_without_sources_leaves_nothing(tmp_path):
  claim.check_same_data(tmp_path, {})
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('line', [1, 7])
def test_a_config_or_data_that_lost_a_line_is_refused(line, tmp_path):
  """Else a changed key or source would be none."""
  config = tiny.get_config()
  workdir = workdir_lib.Workdir(tmp_path)
  text = json.dumps(identity.identity(config), indent=1)
  checksums.write(workdir.config, text)
  digests = {f'full/{n}': f'{n}' for n in range(9)}
  claim.check_same_data(tmp_path, digests)
  checks = (
    lambda: claim.check_config(workdir, config, lambda key: ['full']),
    lambda: claim.check_same_data(tmp_path, digests),
  )
  for path, check in zip((workdir.config, workdir.data), checks):
    check()
    lines = path.read_text().splitlines(True)
    path.write_text(''.join(lines[:line] + lines[line + 1 :]))
    with pytest.raises(errors.Refusal, match=f'{path} is not what was written'):
      check()

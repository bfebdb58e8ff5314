"""What a workdir knows of the data it was begun with."""

import pytest

from visor_jax.runtime import claim


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

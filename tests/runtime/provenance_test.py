"""Results name the code and the libraries that they come from."""

import pathlib

import jax
import pytest

import visor_jax
from visor_jax.runtime import provenance


def test_the_code_is_that_of_the_package():
  """Two hosts that differ in any room must not train together."""
  assert pathlib.Path(visor_jax.__file__).parent == provenance.PACKAGE
  assert provenance.code() == provenance.code(provenance.PACKAGE)


@pytest.mark.parametrize('name', ['a.py', 'room/b.py'])
def test_a_change_of_any_file_changes_the_digits(name, tmp_path):
  (tmp_path / 'room').mkdir()
  for file in ('a.py', 'room/b.py'):
    (tmp_path / file).write_text('x = 1')
  before = provenance.code(tmp_path)
  assert len(before) == 12 and int(before, 16) >= 0
  (tmp_path / name).write_text('x = 2')
  assert provenance.code(tmp_path) != before


def test_versions_are_those_that_run():
  assert provenance.versions()['jax'] == jax.__version__

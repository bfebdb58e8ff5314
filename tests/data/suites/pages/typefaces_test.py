"""Typefaces are there, and the one that is held out is another."""

import pytest

from visor_jax.data.suites.pages import typefaces


@pytest.mark.parametrize('name', typefaces.FILES)
def test_a_typeface_is_there_in_any_size(name):
  widths = [typefaces.font(name, n).getlength('milk 42') for n in (11, 12, 24)]
  assert widths[0] < widths[1] < widths[2]


def test_typefaces_are_different():
  names = [typefaces.font(name, 12).getname() for name in typefaces.FILES]
  assert len(set(names)) == len(names)
  assert typefaces.HELD_OUT not in typefaces.TRAINED


def test_without_matplotlib_one_is_told_what_to_install(monkeypatch):
  monkeypatch.setattr(typefaces.util, 'find_spec', lambda name: None)
  with pytest.raises(FileNotFoundError, match='pip install matplotlib'):
    typefaces.folder()

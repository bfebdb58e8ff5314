"""Checkpoints of a tiny VISOR, in no default way; see trained.py."""

import pytest

from tests import trained
from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import load


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

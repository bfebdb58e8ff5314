"""Fixtures of the tests of convert."""

import pytest

from tests import llava


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
  """(folder, torch model) of a tied float32 checkpoint; not to be changed."""
  folder = tmp_path_factory.mktemp('fourth')
  return folder, llava.write(folder)[0]

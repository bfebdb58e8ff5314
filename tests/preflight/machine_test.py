"""Machines that are named."""

import pytest

from visor_jax.preflight import machine as machine_lib


@pytest.mark.parametrize('name', ['v9:2x2', 'v5e', 'cpu:', 'cpu:x', 'cpu:0'])
def test_a_topology_that_there_is_not(name):
  with pytest.raises(ValueError, match=name):
    machine_lib.describe(name)

"""Machines that are named."""

import importlib.util

import jax
from jax import numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
import pytest

from visor_jax.preflight import compiler
from visor_jax.preflight import gpus
from visor_jax.preflight import hlo
from visor_jax.preflight import machine as machine_lib
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import chips


@pytest.mark.parametrize(
  'name',
  ['v9:2x2', 'v5e', 'h100', 'cpu:', 'cpu:x', 'cpu:0', 'h100:', 'h100:0x8']
  + ['h100:2x2x2', 'h100:eight', 'cpu:²', 'h100:²', 'h100:4x²', 'cpu:-3'],
)
def test_a_topology_that_there_is_not(name):
  with pytest.raises(ValueError, match=f'topology "{name}": '):
    machine_lib.describe(name)


@pytest.mark.parametrize(
  'topology,module,extra',
  [
    ('v5e:2x2', 'libtpu', 'preflight'),
    ('h100:8', 'jax_cuda13_plugin', 'preflight-gpu'),
  ],
)
def test_without_its_compiler_the_error_names_the_extra(
  topology, module, extra, monkeypatch
):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ValueError) as e:
    machine_lib.describe(topology)
  assert module in str(e.value) and f'visor_jax[{extra}]' in str(e.value)
  assert '\n' not in str(e.value)


@pytest.mark.parametrize('name', gpus.GPUS)
def test_a_gpu_is_one_that_the_table_of_chips_knows(name):
  machine = machine_lib.describe(f'{name}:2')
  assert machine.platform == 'gpu' and len(machine.devices) == 2
  assert machine.devices[0].device_kind == gpus.GPUS[name].kind
  assert machine.chip is chips.named(gpus.GPUS[name].kind) is not None
  # Two tables by two hands, of the same card.
  assert gpus.GPUS[name].bandwidth == pytest.approx(
    machine.chip.bandwidth, rel=0.05
  )


@pytest.mark.parametrize(
  'topology,islands', [('h100:8', 1), ('h100:3x2', 3), ('gb200:20x4', 2)]
)
def test_hosts_of_gpus_are_islands(topology, islands):
  """But the 18 of a rack, which has links between all its GPUs."""
  machine = machine_lib.describe(topology)
  assert len(set(machine.islands.values())) == islands
  assert len(machine.islands) == len(machine.devices)


def test_a_gpu_has_what_the_environment_gives():
  """Not all of its memory, and unless told only three quarters."""
  machine = machine_lib.describe('h100:1')
  assert 0.9 * 80e9 < machine.memory < 80 * 2**30
  assert machine.memory_setting == 'XLA_PYTHON_CLIENT_MEM_FRACTION=0.95'
  other = machine_lib.describe('h100:1', memory=70)
  assert (other.memory, other.memory_setting) == (70 * 2**30, '')


def test_only_tpus_have_slices():
  with pytest.raises(ValueError, match='--slices=2'):
    machine_lib.describe('h100:8', slices=2)


def test_a_program_for_gpus_is_counted_where_none_is():
  """Five products of weights that are gathered in bfloat16, on two hosts."""
  machine = machine_lib.describe('h100:2x4')
  mesh = mesh_lib.make(devices=machine.devices, fsdp=8)

  def f(x, weights):
    return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]

  def array(*shape, spec):
    sharding = NamedSharding(mesh, spec)
    return jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=sharding)

  x = array(2048, 256, spec=P('fsdp'))
  weights = array(5, 256, 256, spec=P(None, 'fsdp'))
  with mesh_lib.use_mesh(mesh):
    step = jax.jit(f, out_shardings=x.sharding).lower(x, weights)
    compiled = step.compile(compiler.OPTIONS['gpu'])
  count, _ = hlo.counts(
    compiled.as_text(),
    mesh.shape,
    [machine.islands[device.id] for device in mesh.devices.flat],
  )
  weight = 256 * 256 * 2  # bytes
  assert count.flops == 5 * 2 * 256 * 256 * 256
  assert count.sent == {('all-gather', 'fsdp'): 5 * weight * 7 / 8}
  assert count.between == 5 * weight / 8  # one shard to the other host
  rows = 256 * 256 * 2
  assert count.moved > 5 * (2 * weight + 2 * rows)
  assert not count.loops and not count.kernels

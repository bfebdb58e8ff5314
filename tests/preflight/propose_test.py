"""Settings that fit are near the asked ones."""

import jax
import pytest

from tests import tiny
from visor_jax.preflight import compiler
from visor_jax.preflight import machine as machine_lib
from visor_jax.preflight import propose as propose_lib


def machine(memory):
  return machine_lib.Machine('cpu:8', tuple(jax.devices()[:8]), memory)


def settings(data, batch):
  """Parameters whole on every device."""
  return propose_lib.Settings(dict(data=data, fsdp=1, tensor=1), batch)


@pytest.fixture
def measured(monkeypatch):
  """Compiles nothing: a row takes 100 bytes, and weights are as they are."""
  seen, apply = [], propose_lib.Settings.apply

  def noted(settings, config, name):
    seen.append(settings)
    return apply(settings, config, name)

  def measure(program, machine):
    held, s = compiler.held(program), seen[-1]
    tokens = program.arguments()[1].batch.tokens
    gradients = held['trained'] * (2 if s.accumulate > 1 else 1)
    rows = tokens.sharding.shard_shape(tokens.shape)[0] / s.accumulate
    temporaries = gradients + 1e5 * rows
    return sum(held.values()) + temporaries, temporaries

  monkeypatch.setattr(propose_lib.Settings, 'apply', noted)
  monkeypatch.setattr(propose_lib, 'measure', measure)


def test_the_mesh_changes_before_the_batch(measured):
  """What it computes stays the same; only where weights lie."""
  config = tiny.get_config('jobs=full')
  weights = propose_lib.Weights(config, 'full', jax.devices())
  (whole,) = {round(sum(weights.held(settings(1, 8))))}
  found = propose_lib.propose(
    config, 'full', machine(1.4 * whole + 1e5), 1e5 + whole
  )
  assert list(found['changes']) == ['mesh.data', 'mesh.fsdp']
  assert found['changes']['mesh.fsdp'] == 4
  assert found['bytes'] <= 1.4 * whole + 1e5


def test_a_batch_in_parts_comes_before_a_smaller_one(measured):
  """Neither changes what comes out; and of all, the fewest parts that fit."""
  config = tiny.get_config('jobs=full')
  config.full.batch = 64  # eight rows a device
  weights = propose_lib.Weights(config, 'full', jax.devices())
  (whole,) = {round(sum(weights.held(settings(8, 64))))}
  found = propose_lib.propose(
    config, 'full', machine(5 * whole / 8 + 2.5e5), whole + 8e5
  )
  assert found['changes'] == {
    'mesh.data': 1,
    'mesh.fsdp': 8,
    'full.accumulate': 4,
  }
  found = propose_lib.propose(
    config, 'full', machine(5 * whole + 4.5e5), whole + 8e5
  )
  assert found['changes']['full.accumulate'] == 2
  assert 'full.batch' not in found['changes']


def test_parts_that_do_not_divide_become_fewer(measured):
  """Before the batch becomes another one."""
  config = tiny.get_config('jobs=full')
  config.full.batch, config.full.accumulate = 32, 8
  found = propose_lib.propose(config, 'full', machine(1e9))
  assert found['changes'] == {'full.accumulate': 4}


def test_a_batch_that_does_not_divide_is_helped(measured):
  config = tiny.get_config('jobs=full')
  config.full.batch = 4
  with pytest.raises(ValueError, match=r'full\.batch is 4'):
    compiler.train_program(config, 'full', machine(1e9))
  found = propose_lib.propose(config, 'full', machine(1e9))
  assert found['changes'] == {'full.batch': 8}


def test_what_cannot_fit_is_said(measured):
  config = tiny.get_config('jobs=full')
  found = propose_lib.propose(config, 'full', machine(10.0), 1e6)
  assert found == dict(changes=None, bytes=None, tried=[])

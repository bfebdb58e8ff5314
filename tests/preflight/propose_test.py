"""Settings that fit are near the asked ones."""

import jax
import pytest

from tests import tiny
from visor_jax.preflight import compiler
from visor_jax.preflight import machine as machine_lib
from visor_jax.preflight import param_bytes
from visor_jax.preflight import propose as propose_lib
from visor_jax.preflight import settings as settings_lib
from visor_jax.runtime import mesh as mesh_lib


def machine(memory):
  return machine_lib.Machine('cpu:8', tuple(jax.devices()[:8]), memory)


@pytest.fixture
def measured(monkeypatch):
  """Compiles nothing: a row takes 100 bytes, and weights are as they are."""
  seen, apply = [], settings_lib.Settings.apply

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

  monkeypatch.setattr(settings_lib.Settings, 'apply', noted)
  monkeypatch.setattr(propose_lib, 'measure', measure)


def test_the_mesh_changes_before_the_batch(measured):
  """What it computes stays the same; only where weights lie."""
  config = tiny.get_config('jobs=full')
  params = param_bytes.ParamBytes(config, 'full', jax.devices())
  every = round(sum(params.held(dict.fromkeys(mesh_lib.AXES, 1))))
  proposal = propose_lib.propose(
    config, 'full', machine(1.4 * every + 1e5), 1e5 + every
  )
  assert list(proposal.changes) == ['mesh.data', 'mesh.fsdp']
  assert proposal.changes['mesh.fsdp'] == 4
  assert proposal.bytes <= 1.4 * every + 1e5


def test_a_batch_in_parts_comes_before_a_smaller_one(measured):
  """Neither changes what comes out; and of all, the fewest parts that fit."""
  config = tiny.get_config('jobs=full')
  config.full.batch = 64  # eight rows a device
  params = param_bytes.ParamBytes(config, 'full', jax.devices())
  every = round(sum(params.held(dict.fromkeys(mesh_lib.AXES, 1))))
  proposal = propose_lib.propose(
    config, 'full', machine(5 * every / 8 + 2.5e5), every + 8e5
  )
  assert proposal.changes == {
    'mesh.data': 1,
    'mesh.fsdp': 8,
    'full.accumulate': 4,
  }
  proposal = propose_lib.propose(
    config, 'full', machine(5 * every + 4.5e5), every + 8e5
  )
  assert proposal.changes['full.accumulate'] == 2
  assert 'full.batch' not in proposal.changes


def test_parts_that_do_not_divide_become_fewer(measured):
  """Before the batch becomes another one."""
  config = tiny.get_config('jobs=full')
  config.full.batch, config.full.accumulate = 32, 8
  proposal = propose_lib.propose(config, 'full', machine(1e9))
  assert proposal.changes == {'full.accumulate': 4}


def test_a_batch_that_does_not_divide_is_helped(measured):
  config = tiny.get_config('jobs=full')
  config.full.batch = 4
  with pytest.raises(ValueError, match=r'full\.batch is 4'):
    compiler.train_program(config, 'full', machine(1e9))
  proposal = propose_lib.propose(config, 'full', machine(1e9))
  assert proposal.changes == {'full.batch': 8}


def test_what_cannot_fit_is_said(measured):
  config = tiny.get_config('jobs=full')
  proposal = propose_lib.propose(config, 'full', machine(10.0), 1e6)
  assert proposal == propose_lib.Proposal(changes=None, bytes=None, tried=[])

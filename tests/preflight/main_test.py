"""What preflight says of a stage, on the command line and as numbers."""

import importlib.util
import json
import math

import pytest

from tests import tiny
from visor_jax.data.processing import packing
from visor_jax.data.suites import table as suites
from visor_jax.preflight import __main__ as preflight
from visor_jax.preflight import compiler
from visor_jax.preflight import examine
from visor_jax.preflight import machine as machine_lib
from visor_jax.preflight import report as otherlib
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.training import model as model_lib


def test_without_libtpu_the_error_names_the_extra(monkeypatch, capsys):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  code = preflight.main(
    ['--config=tests/tiny.py:jobs=full', '--topology=v5e:16x16']
  )
  errors = capsys.readouterr().err
  assert code == 1
  assert "pip install 'visor_jax[preflight]'" in errors and 'libtpu' in errors


def small():
  c = tiny.get_config('jobs=full')
  c.model.remat = False  # compiles sooner
  c.mesh.fsdp = 4
  return c


@pytest.fixture(scope='module')
def report():
  return examine.examine(small(), 'full', machine_lib.describe('cpu:8', 1))


def test_a_device_holds_what_is_counted_by_hand(report):
  """Parameters with an `embed` axis are in quarters, the others whole."""
  config = small()
  model, mesh = model_lib.build(config), mesh_lib.make(data=2, fsdp=4)
  shape = suites.entry(config).training_shape(config, model.architecture)
  row = packing.row([], shape)
  trained = frozen = 0
  params = model_lib.abstract_params(model, mesh)
  for path, leaf in param_paths.flatten(params).items():
    split = any('fsdp' in (axes or ()) for axes in leaf.sharding.spec)
    size = 4 * math.prod(leaf.shape) // (4 if split else 1)
    if path.startswith('router/'):
      frozen += size
    else:
      trained += size
  held = report['held']
  assert (held['trained'], held['frozen']) == (trained, frozen)
  # Two moments and two counters; one row of eight, and the plan.
  assert held['optimizer'] == 2 * trained + 8
  assert held['batch'] == sum(v.nbytes for v in row.values()) + 1
  assert report['fits'] and report['total'] < 2**30
  assert report['total'] == (
    sum(held.values()) + report['temporaries'] + report['code']
  )


def test_a_step_computes_more_with_every_layer_on(report):
  """Three to four times the prefill, on an eighth of the rows."""
  for plan, c in (('max', report['most']), ('min', report['least'])):
    prefill = report['prefill'][plan]['executed']
    assert 2.5 * prefill < c['flops'] < 6 * prefill
    assert not c['unknown_loops']
  assert report['most']['flops'] > report['least']['flops']
  assert {s['axes'] for s in report['most']['sent']} >= {'fsdp'}


def test_weights_are_sent_and_not_activations(report):
  """Five times the image changes nothing much: else FSDP is not one."""
  config = small()
  config.data.digits.frames = 5
  machine = machine_lib.describe('cpu:8')
  program = compiler.train_program(config, 'full', machine)
  compiled = compiler.compile_step(program, machine)
  before = sum(s['bytes'] for s in report['most']['sent'])
  assert 0 < before <= compiled.most.bytes < 1.3 * before


def test_a_otherreads_well(report):
  text = otherlib.text(report)
  assert text.startswith('full on cpu:8: 8 devices, mesh data 2 x fsdp 4')
  assert text.endswith('fits')
  for word in ('optimizer', 'temporaries', 'nominal', 'all-gather fsdp'):
    assert word in text


def test_what_does_not_fit_comes_with_settings_that_do(report, capsys):
  """Found by compiling them, here on the command line."""
  config = small()
  room = report['total'] * 1.1 / 2**30
  code = preflight.main(
    [
      '--config=tests/tiny.py:jobs=full',
      '--devices=8',
      '--json',
      f'--memory={room}',
      '--config.full.batch=64',
    ]
  )
  out = capsys.readouterr()
  (other,) = json.loads(out.out)
  assert code == 1 and other['fits'] is False
  assert other['total'] > other['available']
  proposal = other['proposal']
  assert proposal['changes'] and proposal['bytes'] <= other['available']
  assert config.full.batch == 8  # what main read was another one


@pytest.mark.skipif(
  not importlib.util.find_spec('libtpu'),
  reason='needs libtpu: the extra "preflight"',
)
def test_a_tpu_says_what_fits():
  config = small()
  config.mesh.fsdp = 2
  other = examine.examine(config, 'full', machine_lib.describe('v5e:2x2'))
  assert other['fits'] and other['most']['seconds_at_peak'] > 0
  assert other['available'] == 15.75 * 2**30

"""What preflight says of a stage, on the command line and as numbers."""

import dataclasses
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
from visor_jax.preflight import report as report_lib
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import chips
from visor_jax.training import model as model_lib


def small():
  c = tiny.get_config('jobs=full')
  c.model.remat = False  # compiles sooner
  c.mesh.fsdp = 4
  return c


@pytest.fixture(scope='module')
def report():
  """As if a CPU were a TPU v5e, whose data sheet is known."""
  machine = dataclasses.replace(
    machine_lib.describe('cpu:8', 1), chip=chips.named('TPU v5e')
  )
  return examine.examine(small(), 'full', machine)


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


def test_a_report_reads_well(report):
  heading, verdict, *_ = report_lib.text(report).splitlines()
  assert heading.startswith('full on cpu:8: 8 devices, mesh data 2 x fsdp 4')
  assert verdict.startswith('fits: ')
  for word in ('optimizer', 'temporaries', 'all-gather fsdp', 'MFU, % at most'):
    assert word in report_lib.text(report)
  assert 'full, max' in report_lib.hours([report], 0.5)


def test_a_step_is_no_faster_than_the_chip(report):
  for plan in ('most', 'least'):
    count, bound = report[plan], report['roofline'][plan]
    assert bound['seconds'] >= count['flops'] / 197e12
    assert bound['seconds'] >= count['moved'] / 819e9
    assert 0 < bound['mfu'] < 1
  (stage,) = report['stages']
  assert stage['seconds'] == report['roofline']['most']['seconds']
  assert report['chips'] == 8


def test_nobody_knows_how_fast_a_cpu_is(report):
  unknown = {key: report[key] for key in report if key != 'stages'}
  assert report_lib.hours([unknown], 0.5) == ''


def test_temporaries_are_counted(report):
  """All that a step computes on its way, and gradients among it."""
  assert report['temporaries'] > report['held']['trained']


def test_hours_are_those_of_the_roofline(report):
  """At half of it twice the time; with all stages of the recipe."""
  timed = report | dict(
    chips=4.0,
    stages=[
      dict(stage='full', plan='max', steps=7200, seconds=1.0),
      dict(stage='universal', plan='viable', steps=3600, seconds=0.5),
    ],
  )
  unknown = dict(stage='policy', same=['label'])
  lines = report_lib.hours([timed, unknown], 0.5)
  heading, *rows, total, without = lines.splitlines()
  assert heading.split() == (
    'at 50% of the roofline steps hours chip-hours'.split()
  )
  assert [row.split()[-3:] for row in rows] == [
    ['7,200', '4.0', '16'],
    ['3,600', '1.0', '4'],
  ]
  assert (
    total.split()[-2:] == ['5.0', '20'] and without == 'without policy, label'
  )


@pytest.mark.drill
def test_what_does_not_fit_comes_with_settings_that_do(report, capsys):
  """First the verdict, then why, at last what was compiled and fits."""
  config = small()
  room = report['total'] * 1.1 / 2**30
  code = preflight.main(
    [
      '--config=tests/tiny.py:jobs=full',
      '--devices=8',
      f'--memory={room}',
      '--config.full.batch=64',
    ]
  )
  _, verdict, *_, last = capsys.readouterr().out.splitlines()
  assert code == 1 and verdict.startswith('does not fit: ')
  assert last.startswith('fits with --config.')
  assert config.full.batch == 8  # what main read was another one


def test_reports_are_json_too(report, monkeypatch, capsys):
  monkeypatch.setattr(examine, 'examine', lambda *args: report)
  flags = ['--config=tests/tiny.py:jobs=full', '--devices=8', '--json']
  assert preflight.main(flags) == 0
  assert json.loads(capsys.readouterr().out) == [json.loads(json.dumps(report))]


@pytest.mark.parametrize(
  'flag,why',
  [
    ('--memory=-3', '--memory is -3: expected GiB above 0'),
    ('--memory=0', '--memory is 0: expected GiB above 0'),
    ('--memory=nan', '--memory is nan: expected GiB above 0'),
    ('--memory=inf', '--memory is inf: expected GiB above 0'),
    ('--share=0', '--share is 0: expected 0.01 to 1'),
    ('--share=0.001', '--share is 0.001: expected 0.01 to 1'),
    ('--share=1.5', '--share is 1.5: expected 0.01 to 1'),
    ('--share=nan', '--share is nan: expected 0.01 to 1'),
    ('--devices=0', 'flag --devices=0: '),
    ('--devices=-3', 'flag --devices=-3: '),
    ('--slices=0', 'flag --slices=0: '),
  ],
)
def test_a_number_that_cannot_be_is_refused_at_once(
  flag, why, monkeypatch, capsys
):
  monkeypatch.setattr(examine, 'examine', None)  # nothing is compiled
  flags = ['--config=tests/tiny.py:jobs=full', '--devices=8', flag]
  assert preflight.main(flags) == 1
  assert capsys.readouterr().err.startswith(f'error: {why}')


def test_devices_are_named_once(capsys):
  flags = ['--config=tests/tiny.py:jobs=full', '--devices=4']
  assert preflight.main([*flags, '--topology=h100:8']) == 1
  assert capsys.readouterr().err == (
    'error: give --topology or --devices, one of them\n'
  )


@pytest.mark.drill
@pytest.mark.skipif(
  not importlib.util.find_spec('libtpu'),
  reason='needs libtpu: the extra "preflight"',
)
def test_a_tpu_says_what_fits():
  config = small()
  config.mesh.fsdp = 2
  other = examine.examine(config, 'full', machine_lib.describe('v5e:2x2'))
  assert other['fits'] and 0 < other['roofline']['least']['seconds']
  assert (
    other['roofline']['least']['seconds'] <= (other['stages'][0]['seconds'])
  )
  assert other['available'] == 15.75 * 2**30

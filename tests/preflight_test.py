"""What preflight says of a step is true: counted by hand where that can be."""

import importlib.util
import json
import math

import jax
from jax import numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
import pytest

from tests import tiny
from visor_jax.data.processing import packing
from visor_jax.preflight import __main__ as preflight
from visor_jax.preflight import abstract_step as paper_lib
from visor_jax.preflight import hlo
from visor_jax.preflight import machine as machine_lib
from visor_jax.preflight import propose as propose_lib
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.training import stages
from visor_jax.training import step

# Counting ---------------------------------------------------------------------

MESH = {'data': 2, 'fsdp': 4, 'tensor': 1}
KB = 1024


def counted(f, *shapes, dearer=True):
  """Counts a program on 2 x 4 devices; shapes are ((lengths), spec)."""
  mesh = mesh_lib.make(2, 4, 1)
  args = [
    jax.ShapeDtypeStruct(s, jnp.float32, sharding=NamedSharding(mesh, p))
    for s, p in shapes
  ]
  with mesh_lib.use_mesh(mesh):
    text = jax.jit(f).lower(*args).compile().as_text()
  return hlo.count(text, MESH, dearer)


def mapped(f, spec=P('fsdp'), out=P()):
  return jax.shard_map(f, in_specs=spec, out_specs=out, check_vma=False)


@pytest.mark.parametrize(
  'f,out,kind,axes,sent',
  [
    # A device has a quarter of 4 KB, and sends what a ring of four sends.
    (lambda x: jax.lax.all_gather(x, 'fsdp'), P(), 'all-gather', 'fsdp', 3),
    (lambda x: jax.lax.psum(x, 'fsdp'), P(), 'all-reduce', 'fsdp', 1.5),
    (lambda x: jax.lax.psum(x, 'data'), P('fsdp'), 'all-reduce', 'data', 1),
    (
      lambda x: jax.lax.psum(x, ('data', 'fsdp')),
      P(),
      'all-reduce',
      'data+fsdp',
      1.75,
    ),
    (
      lambda x: jax.lax.psum_scatter(x, 'fsdp'),
      P('fsdp'),
      'reduce-scatter',
      'fsdp',
      0.75,
    ),
    (
      lambda x: jax.lax.all_to_all(x, 'fsdp', 0, 0),
      P('fsdp'),
      'all-to-all',
      'fsdp',
      0.75,
    ),
    (
      lambda x: jax.lax.ppermute(
        x, 'fsdp', [(i, (i + 1) % 4) for i in range(4)]
      ),
      P('fsdp'),
      'collective-permute',
      'fsdp',
      1,
    ),
  ],
)
def test_what_a_collective_sends(f, out, kind, axes, sent):
  got = counted(mapped(f, out=out), ((16, 4, 16), P('fsdp')))
  assert got.sent == {(kind, axes): sent * KB}


def test_a_loop_counts_as_often_as_it_runs():
  """XLA's own analysis counts its body once."""

  def loop(x):
    def body(x, _):
      return jnp.tanh(jax.lax.psum(x @ x, 'data')), None

    return jax.lax.scan(body, x, None, length=5)[0]

  got = counted(mapped(loop, P()), ((16, 16), P()))
  assert got.flops == 5 * 2 * 16**3
  assert got.sent == {('all-reduce', 'data'): 5 * KB}
  assert not got.loops


def test_a_conditional_counts_its_dearer_branch_or_its_cheaper_one():
  def either(x):
    return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

  for dearer, products in ((True, 2), (False, 1)):
    got = counted(either, ((16, 16), P()), dearer=dearer)
    assert got.flops == products * 2 * 16**3


def test_products_are_those_of_one_device():
  """Rows over all eight, weights gathered: as FSDP does it."""

  def f(x, w):
    w = jax.lax.with_sharding_constraint(w, P())
    return jax.lax.with_sharding_constraint(x @ w, P(('data', 'fsdp')))

  got = counted(f, ((64, 32), P(('data', 'fsdp'))), ((32, 16), P('fsdp')))
  assert got.flops == 2 * 8 * 32 * 16
  assert got.sent == {('all-gather', 'fsdp'): 3 * 8 * 16 * 4}


LINE = """HloModule m
ENTRY %main (x: f32[8,4]) -> f32[8,4] {{
  %x = f32[8,4]{{1,0:T(8,128)}} parameter(0)
  ROOT %y = (f32[8,4]{{1,0}}, f32[32,4]{{1,0}}) all-gather-start(%x), {}
}}
"""


@pytest.mark.parametrize(
  'groups,axes,n',
  [
    ('replica_groups={{0,1,2,3},{4,5,6,7}}, dimensions={0}', 'fsdp', 4),
    ('replica_groups={{0,4},{1,5},{2,6},{3,7}}', 'data', 2),
    ('replica_groups={}', 'data+fsdp', 8),
    ('replica_groups=[2,4]<=[8]', 'fsdp', 4),
    ('replica_groups=[4,2]<=[2,4]T(1,0), dimensions={0}', 'data', 2),
    ("replica_groups=mesh['a'=2,'b'=4] {'b'}, x=y", 'fsdp', 4),
    ("replica_groups=mesh['a'=2,'b'=4] {'a'}", 'data', 2),
    ('replica_groups=mesh[a=2,b=4] {a,b}', 'data+fsdp', 8),
    # Four of eight as the first or the last part of one axis.
    ("replica_groups=mesh['a'=8] {'a':(2)4}", 'fsdp', 4),
    ("replica_groups=mesh['a'=8] {'a':(1)2}", 'data', 2),
    (
      "replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'b'}",
      'data',
      2,
    ),
    (
      "replica_groups=mesh['a'=2,'b'=4], device_ids=(0,4,1,5,2,6,3,7) {'b'}",
      'data+fsdp',
      4,
    ),
  ],
)
def test_groups_of_devices_in_all_spellings(groups, axes, n):
  got = hlo.count(LINE.format(groups), MESH)
  assert got.sent == {('all-gather', axes): (n - 1) * 128}


def test_products_as_tpus_write_them():
  """A convolution; the second is a batch of six products of 8x16 and 16x32."""
  text = """HloModule m
ENTRY %main (x: f32[8,16], w: f32[16,32]) -> f32[8,32] {
  %x = bf16[8,16]{1,0} parameter(0)
  %w = bf16[16,32]{1,0} parameter(1)
  %a = bf16[6,8,16]{2,1,0} parameter(2)
  %b = bf16[6,16,32]{2,1,0} parameter(3)
  %y = bf16[8,32]{1,0} convolution(%x, %w), dim_labels=bf_io->bf
  ROOT %c = bf16[6,8,32]{2,1,0} convolution(%a, %b), window={size=6 stride=5 """
  text += 'pad=0_0 lhs_dilate=6}, dim_labels=0bf_0io->0bf\n}\n'
  assert hlo.count(text, MESH).flops == 2 * 8 * 16 * 32 * (1 + 6)


# The machine ------------------------------------------------------------------


def test_without_libtpu_the_error_names_the_extra(monkeypatch, capsys):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
  code = preflight.main(
    ['--config=tests/tiny.py:jobs=full', '--topology=v5e:16x16']
  )
  said = capsys.readouterr().err
  assert code == 1
  assert "pip install 'visor_jax[preflight]'" in said and 'libtpu' in said


@pytest.mark.parametrize('name', ['v9:2x2', 'v5e', 'cpu:', 'cpu:x', 'cpu:0'])
def test_a_topology_that_there_is_not(name):
  with pytest.raises(ValueError, match=name):
    machine_lib.describe(name)


@pytest.mark.parametrize(
  'text,needed,room,temporaries',
  [
    (
      'RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required '
      'for HLO temporaries (116.50G) exceeds available HBM (15.75G).',
      116.5,
      15.75,
      True,
    ),
    (
      'RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory '
      'in memory space hbm. Used 20.25G of 15.75G hbm. Exceeded hbm capacity '
      'by 4.50G.\nTotal hbm usage >= 20.51G:',
      20.25,
      15.75,
      False,
    ),
  ],
)
def test_what_the_compiler_says_when_a_step_is_too_big(
  text, needed, room, temporaries
):
  e = paper_lib.TooBig(text)
  assert (e.needed, e.room) == (needed * 2**30, room * 2**30)
  assert e.temporaries == temporaries
  assert '\n' not in str(e)


# A whole step -----------------------------------------------------------------


def small():
  c = tiny.get_config('jobs=full')
  c.model.remat = False  # compiles sooner
  c.mesh.fsdp = 4
  return c


@pytest.fixture(scope='module')
def report():
  return preflight.examine(small(), 'full', machine_lib.describe('cpu:8', 1))


def test_a_device_holds_what_is_counted_by_hand(report):
  """Parameters with an `embed` axis are in quarters, the others whole."""
  config = small()
  mesh = mesh_lib.make(2, 4, 1)
  model = step.model(config)
  row = paper_lib.row(config, stages.STAGES['full'])
  blank = {k: jnp.zeros((1, *v.shape), v.dtype) for k, v in row.items()}
  _, shapes, where = step.init(
    model, 0, mesh_lib.batch_lib.Batch(**blank), mesh
  )
  trained = frozen = 0
  for path, leaf in param_paths.flatten(shapes).items():
    split = 'fsdp' in param_paths.flatten(where)[path].spec
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
  paper = paper_lib.abstract_step(config, 'full', machine_lib.describe('cpu:8'))
  found = paper_lib.compile_step(paper, machine_lib.describe('cpu:8'))
  before = sum(s['bytes'] for s in report['most']['sent'])
  assert 0 < before <= found.most.bytes < 1.3 * before


def test_a_report_reads_well(report):
  text = preflight.text(report)
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
  (found,) = json.loads(out.out)
  assert code == 1 and found['fits'] is False
  assert found['total'] > found['available']
  proposal = found['proposal']
  assert proposal['changes'] and proposal['bytes'] <= found['available']
  assert config.full.batch == 8  # what main read was another one


# Proposals --------------------------------------------------------------------


def machine(memory):
  return machine_lib.Machine('cpu:8', tuple(jax.devices()[:8]), memory)


@pytest.fixture
def measured(monkeypatch):
  """Compiles nothing: a row takes 100 bytes, and weights are as they are."""
  seen, apply = [], propose_lib.Settings.apply

  def noted(settings, config, name):
    seen.append(settings)
    return apply(settings, config, name)

  def measure(paper, machine):
    held, s = paper.held(), seen[-1]
    gradients = held['trained'] * (2 if s.accumulate > 1 else 1)
    rows = (
      paper.batch.tokens.sharding.shard_shape(paper.batch.tokens.shape)[0]
      / s.accumulate
    )
    temporaries = gradients + 1e5 * rows
    return sum(held.values()) + temporaries, temporaries

  monkeypatch.setattr(propose_lib.Settings, 'apply', noted)
  monkeypatch.setattr(propose_lib, 'measure', measure)


def test_the_mesh_changes_before_the_batch(measured):
  """What it computes stays the same; only where weights lie."""
  config = tiny.get_config('jobs=full')
  weights = propose_lib.Weights(config, 'full', jax.devices())
  (whole,) = {round(sum(weights.held(propose_lib.Settings(1, 1, 1, 8))))}
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
  (whole,) = {round(sum(weights.held(propose_lib.Settings(8, 1, 1, 64))))}
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


@pytest.mark.parametrize(
  'reduce,whole,want',
  [
    ('', 0.5, [None]),
    ('pack:2', 0.0, ['pack:2']),
    ('pack:2', 0.5, [None]),
    ('m3:1+m3:5', 0.5, ['m3:1', 'm3:5']),
    ('m3:1+m3:5', 1.0, [None]),
  ],
)
def test_the_step_is_the_one_with_most_visual_tokens(reduce, whole, want):
  config = tiny.get_config('jobs=full')
  config.model.reduce, config.full.full_token_fraction = reduce, whole
  stage = stages.STAGES['full']
  found = paper_lib.most_expensive(
    config, stage, packing.stack([paper_lib.row(config, stage)])
  )
  assert [one and str(one) for one in found] == want


def test_a_batch_that_does_not_divide_is_helped(measured):
  config = tiny.get_config('jobs=full')
  config.full.batch = 4
  with pytest.raises(ValueError, match=r'full\.batch is 4'):
    paper_lib.abstract_step(config, 'full', machine(1e9))
  found = propose_lib.propose(config, 'full', machine(1e9))
  assert found['changes'] == {'full.batch': 8}


def test_what_cannot_fit_is_said(measured):
  config = tiny.get_config('jobs=full')
  found = propose_lib.propose(config, 'full', machine(10.0), 1e6)
  assert found == dict(changes=None, bytes=None, tried=[])


@pytest.mark.skipif(
  not importlib.util.find_spec('libtpu'),
  reason='needs libtpu: the extra "preflight"',
)
def test_a_tpu_says_what_fits():
  config = small()
  config.mesh.fsdp = 2
  found = preflight.examine(config, 'full', machine_lib.describe('v5e:2x2'))
  assert found['fits'] and found['most']['seconds_at_peak'] > 0
  assert found['available'] == 15.75 * 2**30

"""What is counted in a program is true: by hand."""

import jax
from jax import numpy as jnp
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
import pytest

from visor_jax.preflight import hlo
from visor_jax.runtime import mesh as mesh_lib

MESH = {'data': 2, 'fsdp': 4, 'tensor': 1}
ALL = ('data', 'fsdp')
KB = 1024


def counted(f, *shapes, islands=()):
  """Counts a program on 2 x 4 devices; shapes are ((lengths), spec)."""
  mesh = mesh_lib.make(data=2, fsdp=4)
  args = [
    jax.ShapeDtypeStruct(s, jnp.float32, sharding=NamedSharding(mesh, p))
    for s, p in shapes
  ]
  with mesh_lib.use_mesh(mesh):
    text = jax.jit(f).lower(*args).compile().as_text()
  return hlo.counts(text, MESH, islands)


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
  got, _ = counted(mapped(f, out=out), ((16, 4, 16), P('fsdp')))
  assert got.sent == {(kind, axes): sent * KB}


def test_a_loop_counts_as_often_as_it_runs():
  """XLA's own analysis counts its body once."""

  def loop(x):
    def body(x, _):
      return jnp.tanh(jax.lax.psum(x @ x, 'data')), None

    return jax.lax.scan(body, x, None, length=5)[0]

  got, _ = counted(mapped(loop, P()), ((16, 16), P()))
  assert got.flops == 5 * 2 * 16**3
  assert got.sent == {('all-reduce', 'data'): 5 * KB}
  assert not got.loops


def test_a_conditional_counts_its_dearer_branch_or_its_cheaper_one():
  def either(x):
    return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

  for count, products in zip(counted(either, ((16, 16), P())), (2, 1)):
    assert count.flops == products * 2 * 16**3


def test_products_are_those_of_one_device():
  """Rows over all eight, weights gathered: as FSDP does it."""

  def f(x, w):
    w = jax.lax.with_sharding_constraint(w, P())
    return jax.lax.with_sharding_constraint(x @ w, P(ALL))

  got, _ = counted(f, ((64, 32), P(ALL)), ((32, 16), P('fsdp')))
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
  got, _ = hlo.counts(LINE.format(groups), MESH)
  assert got.sent == {('all-gather', axes): (n - 1) * 128}


@pytest.mark.parametrize(
  'collective,f,spec,between',
  [
    # Four of an island send their KB, each a quarter of the sum, to the other.
    ('all-gather', lambda x: jax.lax.all_gather(x, ALL), P(ALL), 1),
    ('all-reduce', lambda x: jax.lax.psum(x, ALL), P(ALL), 0.25),
    ('all-reduce', lambda x: jax.lax.psum(x, 'data'), P(ALL), 1),
    ('all-reduce', lambda x: jax.lax.psum(x, 'fsdp'), P(ALL), 0),
  ],
)
def test_what_goes_between_islands(collective, f, spec, between):
  """Two islands of four: the rows of the mesh."""
  count, _ = counted(
    mapped(f, spec, P()),
    ((64, 8, 4), spec),
    islands=[0, 0, 0, 0, 1, 1, 1, 1],
  )
  assert {kind for kind, _ in count.sent} == {collective}
  assert count.between == between * KB


def test_what_computes_nothing_is_no_cheaper_plan():
  """Keys that no query sees may be skipped; both counts have them all."""

  def maybe(x):
    return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x, x)

  for count in counted(maybe, ((16, 16), P())):
    assert count.flops == 2 * 16**3


def test_a_reduce_scatter_as_tpus_write_it():
  """A fusion of an all-reduce and a slice of it."""
  text = """HloModule m
%all-reduce-scatter.1 (x: f32[16,4]) -> f32[4,4] {
  %x = f32[16,4]{1,0} parameter(0)
  %s = f32[16,4]{1,0} all-reduce(%x), replica_groups={{0,1,2,3},{4,5,6,7}}
  %z = s32[] constant(0)
  ROOT %d = f32[4,4]{1,0} dynamic-slice(%s, %z, %z), dynamic_slice_sizes={4,4}
}
ENTRY %main (y: f32[16,4]) -> f32[4,4] {
  %y = f32[16,4]{1,0} parameter(0)
  ROOT %r = f32[4,4]{1,0} fusion(%y), kind=kCustom, calls=%all-reduce-scatter.1
}
"""
  count, _ = hlo.counts(text, MESH)
  assert count.sent == {('reduce-scatter', 'fsdp'): 256 * 3 / 4}
  assert count.moved == 256 + 64


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
  assert hlo.counts(text, MESH)[0].flops == 2 * 8 * 16 * 32 * (1 + 6)

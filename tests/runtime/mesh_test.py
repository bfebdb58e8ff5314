"""What lies where: the sizes of a mesh, parameters and batches on it."""

import dataclasses

from flax import linen as nn
import jax
from jax import numpy as jnp
import numpy as np
import pytest

from tests import rows
from visor_jax import config as config_lib
from visor_jax.models import compute as compute_lib
from visor_jax.models import sharding
from visor_jax.models import visor
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import architecture
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes
from visor_jax.training import model as model_lib

# Every axis divides by 4 over fsdp and by 2 over tensor. Two repeats of three
# layers, so that scans and conds are spread too.
LANGUAGE = sizes.Language(
  width=16,
  depth=6,
  heads=2,
  key_heads=2,
  head_width=6,
  mlp=24,
  vocabulary=40,
  rope_theta=100.0,
)
VISION = dataclasses.replace(rows.VISION, depth=0)
MODEL = visor.Visor(
  architecture.Architecture(sizes.Size(VISION, LANGUAGE), plans.visor(6)),
  compute_lib.Compute(remat=False),
)
# Eight rows of different lengths, two of them with two conversations.
BATCH = rows.batch(
  ('tvvvvtpaa', 'tpa'),
  ('vvtpa',),
  ('tvvtpaaa',),
  (),
  ('tttpa',),
  ('tvvvvvvtpa',),
  ('tvtpa', 'tvvtpa'),
  ('tvvtpa',),
)
MESHES = [(8, 1, 1), (1, 2, 2, 2), (1, 4, 1)]


def make(*shape, devices=None):
  """The mesh of these sizes, in the order of its axes."""
  return mesh_lib.make(devices, **dict(zip(mesh_lib.AXES, shape)))


def mesh_of(shape):
  return make(*shape, devices=jax.devices()[: int(np.prod(shape))])


# Sizes ------------------------------------------------------------------------


@pytest.mark.parametrize(
  'asked,shape',
  [
    ((), (8, 1, 1)),
    ((8, 1, 1), (8, 1, 1)),
    ((-1, 2, 2), (2, 2, 2)),
    ((2, -1, 1), (2, 4, 1)),
    ((1, 1, -1), (1, 1, 8)),
    ((-1, 8, 1), (1, 8, 1)),
  ],
)
def test_a_mesh_has_the_sizes_asked_for(asked, shape):
  mesh = make(*asked)
  assert tuple(mesh.shape.values()) == (*shape, 1)
  assert mesh.axis_names == ('data', 'fsdp', 'tensor', 'sequence')
  assert mesh_lib.num_batch_shards(mesh) == shape[0] * shape[1]


@pytest.mark.parametrize(
  'asked',
  [
    (3, 1, 1),
    (-1, 3, 1),
    (-1, -1, 1),
    (1, 1, 1),
    (16, 1, 1),
    (0, 1, 1),
    (-1, 16, 1),
    (-2, -2, 2),
    (-8, -1, 1),
  ],
)
def test_sizes_that_do_not_multiply_to_the_devices_are_an_error(asked):
  """Idle chips cost as much as busy ones."""
  with pytest.raises(ValueError) as e:
    make(*asked)
  for axis, size in zip(mesh_lib.AXES, asked):
    assert f'mesh.{axis}={size}' in str(e.value)
  assert 'the 8 devices' in str(e.value)


def test_a_size_of_zero_is_the_same_error():
  with pytest.raises(ValueError, match=r'mesh\.fsdp=0'):
    make(-1, 0, 1)


def test_an_axis_that_there_is_not_is_named():
  with pytest.raises(ValueError, match='mesh.expert is no axis.*data, fsdp, t'):
    mesh_lib.make(expert=2)


def numbers(mesh):
  return np.vectorize(lambda d: d.id)(mesh.devices)


def test_only_data_crosses_slices(monkeypatch):
  """Devices of a slice are neighbours in fsdp and tensor, in any order."""
  monkeypatch.setattr(mesh_lib, '_slice', lambda d: d.id % 2)
  ids = numbers(make(4, 2, 1))
  assert ids.shape == (4, 2, 1, 1) and sorted(ids.flat) == list(range(8))
  assert (ids % 2 == np.array([0, 0, 1, 1])[:, None, None, None]).all()
  # Devices that are not TPUs may be as fast between hosts as within.
  assert numbers(make(1, 8, 1)).shape == (1, 8, 1, 1)


def test_slices_of_tpus_are_parted_by_data_alone(monkeypatch):
  @dataclasses.dataclass
  class Device:
    id: int
    platform: str = 'tpu'

    @property
    def slice_index(self):
      return self.id // 2

  with pytest.raises(ValueError, match=r'mesh\.data=2 .* the 4 slices'):
    make(2, 4, 1, devices=[Device(i) for i in range(8)])


def test_a_batch_that_does_not_spread_names_its_keys():
  mesh = make(2, 2, 2)
  mesh_lib.check_batch('full', 16, mesh, 4)
  with pytest.raises(
    ValueError, match=r'full\.batch is 7.* = 4 does not .*full\.batch=8 would'
  ):
    mesh_lib.check_batch('full', 7, mesh)
  with pytest.raises(ValueError, match=r'batch=4 would do'):
    mesh_lib.check_batch('full', 1, mesh)
  with pytest.raises(
    ValueError, match=r'= 4 times full\.accumulate = 3 does.*=12 would do'
  ):
    mesh_lib.check_batch('full', 16, mesh, 3)


def test_slots_that_do_not_spread_name_their_key():
  mesh = make(2, 2, 1, 2)
  mesh_lib.check_slots({'data.packed.text': 6}, mesh)
  with pytest.raises(
    ValueError, match=r'text is 7, .*sequence=2 does.*text=8 would'
  ):
    mesh_lib.check_slots({'data.packed.text': 7}, mesh)


# Parameters -------------------------------------------------------------------


def shardings(model, mesh):
  params = model_lib.abstract_params(model, mesh)
  return params, jax.tree.map(lambda x: x.sharding, params)


@pytest.mark.parametrize(
  'shape,values,words',
  [
    (
      (1, 1, 2),
      dict(key_heads=1),
      ('key (', '"key_heads"', 'mesh.tensor=2', ' 1 '),
    ),
    (
      (1, 1, 2),
      dict(mlp=23),
      ('llm/layers/mlp', '"mlp"', '23', 'mesh.tensor=2'),
    ),
    ((1, 8, 1), dict(width=20), ('"embed"', '20', 'mesh.fsdp=8')),
    (
      (1, 1, 8),
      dict(heads=8, key_heads=8, mlp=24, vocabulary=41),
      ('llm/embedding', 'vocabulary', '41', 'mesh.tensor=8'),
    ),
  ],
)
def test_an_axis_that_does_not_divide_is_named(shape, values, words):
  """Which of a hundred parameters, and which number to change."""
  language = dataclasses.replace(LANGUAGE, **values)
  model = rows.change(MODEL, size=sizes.Size(VISION, language))
  with pytest.raises(ValueError) as e:
    shardings(model, mesh_of(shape))
  for word in words:
    assert word in str(e.value)


def test_an_axis_may_be_split_over_several_mesh_axes(monkeypatch):
  """Each of two sizes may divide where their product does not."""
  monkeypatch.setitem(mesh_lib.RULES, 'mlp', ('fsdp', 'tensor'))
  boxed = {'up': nn.LogicallyPartitioned(jnp.zeros((3, 12)), (None, 'mlp'))}
  where = mesh_lib.shardings(boxed, mesh_of((2, 2, 2)))['up']
  assert where.shard_shape((3, 12)) == (3, 3)
  assert [sharding.spec_axes(entry) for entry in where.spec] == [
    (),
    ('fsdp', 'tensor'),
  ]
  with pytest.raises(
    ValueError, match=r'up .*"mlp" of 12 .* mesh\.fsdp=4 \* mesh\.tensor=2'
  ):
    mesh_lib.shardings(boxed, mesh_of((1, 4, 2)))


def test_a_logical_axis_without_a_rule_is_named():
  boxed = {'up': nn.LogicallyPartitioned(jnp.zeros(3), ('experts',))}
  with pytest.raises(ValueError, match='"experts"; mesh.RULES has batch, slo'):
    mesh_lib.shardings(boxed, mesh_of((1, 1, 1)))


def test_parameters_are_really_spread():
  """A rule that matched nothing would leave a copy on every device."""
  shapes, where = shardings(MODEL, mesh_of((2, 2, 2)))
  sizes_of_all = jax.tree.map(lambda x: x.size, shapes['llm'])
  sizes_of_part = jax.tree.map(
    lambda x, s: int(np.prod(s.shard_shape(x.shape))),
    shapes['llm'],
    where['llm'],
  )
  total, part = (
    sum(jax.tree.leaves(tree)) for tree in (sizes_of_all, sizes_of_part)
  )
  assert part < 0.3 * total  # a quarter, and the norms


def test_every_logical_axis_of_the_model_has_a_rule():
  """Every parameter says how it lies; a bare one would be copied silently."""
  boxed = jax.eval_shape(
    lambda: MODEL.init(jax.random.key(0), BATCH, method='init_all')['params']
  )

  def is_box(leaf):
    return isinstance(leaf, nn.meta.AxisMetadata)

  for path, leaf in jax.tree_util.tree_leaves_with_path(boxed, is_leaf=is_box):
    assert is_box(leaf), mesh_lib.path_name(path)
    assert len(leaf.names) == leaf.value.ndim, mesh_lib.path_name(path)
    assert all(n is None or n in mesh_lib.RULES for n in leaf.names)


# Batches ----------------------------------------------------------------------


@pytest.mark.parametrize('shape', MESHES, ids=str)
def test_place_keeps_the_order_of_rows(shape):
  """Labels and answers are matched to questions by their place alone."""
  mesh = mesh_of(shape)
  placed = mesh_lib.shard_batch(BATCH, mesh)
  for name, x in placed.fields().items():
    np.testing.assert_array_equal(x, getattr(BATCH, name))
    assert len({s.index[0].start for s in x.addressable_shards}) == (
      mesh_lib.num_batch_shards(mesh)
    )
  labels = np.arange(8, dtype=np.int32)[:, None]
  np.testing.assert_array_equal(mesh_lib.shard_batch(labels, mesh), labels)


def test_rows_that_do_not_divide_are_an_error():
  with pytest.raises(ValueError, match=r'6 rows .*mesh\.data \* .* = 4'):
    mesh_lib.shard_batch(np.zeros((6, 2)), mesh_of((2, 2, 1)))


def test_the_default_config_names_the_axes_of_a_mesh():
  assert dict(config_lib.default().mesh) == mesh_lib.AXES

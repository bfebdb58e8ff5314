"""Spreading the model over devices changes where it lies, not what it says."""

import dataclasses
import functools

import jax
from jax import numpy as jnp
import numpy as np
import pytest

from tests import rows
from tests.runtime import mesh_test
from visor_jax.models import attention
from visor_jax.models import attention_arrays
from visor_jax.models import positions
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes
from visor_jax.training import losses
from visor_jax.training import model as model_lib


def run(params, batch, mesh):
  """Loss and gradients of base, max and min: one program for all three."""

  def one(params, batch, plan):
    return jax.value_and_grad(
      lambda p: losses.answer_loss(
        mesh_test.MODEL, p, losses.Examples(batch), plan
      )[0]
    )(params)

  both = rows.jit(
    lambda params, batch, bits: (
      one(params, batch, None),
      one(params, batch, bits),
    )
  )
  with mesh_lib.use_mesh(mesh):
    base, largest = both(params, batch, jnp.asarray(mesh_test.MODEL.layout.max))
    _, smallest = both(params, batch, jnp.asarray(mesh_test.MODEL.layout.min))
  return dict(base=base, max=largest, min=smallest)


@pytest.fixture(scope='module')
def alone():
  params = rows.params(mesh_test.MODEL)
  results = run(params, mesh_test.BATCH, mesh_test.mesh_of((1, 1, 1)))
  assert len({round(float(loss), 6) for loss, _ in results.values()}) == 3
  return params, results


@pytest.mark.parametrize('shape', mesh_test.MESHES, ids=str)
def test_a_mesh_changes_neither_loss_nor_gradients(shape, alone):
  """A wrong rule, or a sum over half the rows, shows here and nowhere else."""
  params, want = alone
  mesh = mesh_test.mesh_of(shape)
  _, where = mesh_test.shardings(mesh_test.MODEL, mesh)
  got = run(
    jax.device_put(params, where),
    mesh_lib.shard_batch(mesh_test.BATCH, mesh),
    mesh,
  )
  for plan in want:
    rows.close(got[plan], want[plan], 1e-5)


@pytest.mark.parametrize('shape', [(2, 1, 2, 2), (1, 1, 1, 1)], ids=str)
def test_a_kernel_runs_on_each_device_by_itself(shape):
  """On its rows, queries and heads; gradients too."""
  rng = np.random.default_rng(0)

  def make(*shape):
    return jnp.asarray(rng.standard_normal(shape), jnp.float32)

  qkv = make(4, 8, 4, 6), make(4, 8, 2, 6), make(4, 8, 2, 6)
  at = positions.Slots(
    jnp.asarray(rng.integers(1, 3, (4, 8))).sort(axis=1),
    jnp.tile(jnp.arange(8), (4, 1)),
  )
  seen = []

  def kernel(local):
    query, key, value, query_slots, key_slots, number = local
    seen.append((query.shape, key.shape, query_slots.place.shape, number.shape))
    arrays = (attention_arrays.Keys(key, value, key_slots),)
    return attention_arrays.attend(query, query_slots, arrays)

  def value(f):
    def loss(qkv):
      return (f(*qkv, at, at) ** 2).sum()

    return rows.jit(jax.value_and_grad(loss))(qkv)

  per_device = functools.partial(attention._per_device, kernel)
  want = value(per_device)
  data, fsdp, tensor, sequence = shape
  with mesh_lib.use_mesh(mesh_test.mesh_of(shape)):
    got = value(per_device)
  rows.close(got, want)
  b, n, k = 4 // data // fsdp, 4 // tensor, 2 // tensor
  q = 8 // sequence
  assert seen[-1] == ((b, q, n, 6), (b, 8, k, 6), (b, q), (q,))


def test_fresh_parameters_do_not_depend_on_the_mesh():
  """A run moved to another pod starts from the same weights."""
  fresh = []
  small = rows.change(
    mesh_test.MODEL,
    size=sizes.Size(
      mesh_test.VISION, dataclasses.replace(mesh_test.LANGUAGE, depth=3)
    ),
    layout=plans.visor(3),
  )
  for shape in ((1, 1, 1), (1, 2, 2)):
    mesh = mesh_test.mesh_of(shape)
    params = model_lib.init_params(small, 3, mesh)
    assert jax.tree.all(
      jax.tree.map(
        lambda x, want: x.sharding.is_equivalent_to(want.sharding, x.ndim),
        params,
        model_lib.abstract_params(small, mesh),
      )
    )
    fresh.append(jax.device_get(params))
  rows.close(fresh[1], fresh[0], 1e-6)

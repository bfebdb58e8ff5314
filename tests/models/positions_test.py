"""Places and positions of tokens, drawn as figures."""

import jax
import jax.numpy as jnp
import numpy as np

from tests import rows
from visor_jax.models import positions


def test_geometry():
  """Positions count from a segment's start, over text and image together."""
  batch = rows.batch(('tvvtp', 'vta'), shape=rows.Shape(6, 4, 2, 1))
  at = positions.token_layout(batch)

  def line(x):
    return ' '.join(map(str, np.asarray(x)[0]))

  assert line(batch.text_place) == '0 3 4 6 7 8'
  assert line(batch.visual_place) == '1 2 5 9'
  assert line(at.merged.segment) == '1 1 1 1 1 2 2 2 0 0'
  assert line(at.merged.place) == '0 1 2 3 4 5 6 7 8 9'
  assert line(at.merged_position[:, :8]) == '0 1 2 3 4 0 1 2'
  assert line(at.text_position[:, :5]) == '0 3 4 1 2'
  assert line(at.visual_position[:, :3]) == '1 2 0'
  # Slots are text first, then visual: place 1 is the first visual slot, 6.
  assert line(at.order) == '0 6 7 1 2 8 3 4 5 9'
  assert line(np.take_along_axis(at.order, at.place, 1)) == (
    '0 1 2 3 4 5 6 7 8 9'
  )


def test_permute_is_a_gather_with_a_gather_for_its_gradient():
  index = jax.random.permutation(jax.random.key(0), 7)[None]
  x = jax.random.normal(jax.random.key(1), (1, 7, 3))
  weight = jnp.arange(21.0).reshape(1, 7, 3)

  def f(permute):
    return jax.grad(lambda x: jnp.sum(weight * permute(x)))(x)

  inverse = jnp.argsort(index, axis=1)
  got = f(lambda x: positions.permute(x, index, inverse))
  assert np.array_equal(got, f(lambda x: x[:, index[0]]))
  assert not np.array_equal(index, inverse)

"""Flash kernels of GPUs, interpreted, equal chunks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import rows
from visor_jax.models import attention_chunks
from visor_jax.models import attention_flash
from visor_jax.models import positions
from visor_jax.models import visibility

# So small that rows have many blocks, of a size of their own in each kernel.
TILES = attention_flash.Tiles(
  *(
    attention_flash.Tile(*size, 4, 2) for size in [(16, 32), (32, 16), (16, 16)]
  )
)


def tensors(q, s, n, k, h):
  rng = np.random.default_rng(0)
  shapes = (2, q, n, h), (2, s, k, h), (2, s, k, h), (2, q, n, h)
  return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def slots(*lengths):
  """Two rows of segments in order; what is left of each is padding."""
  size = max(map(sum, lengths))
  segment = [
    np.repeat([*range(1, len(row) + 1), 0], [*row, size - sum(row)])
    for row in lengths
  ]
  return positions.Slots(
    jnp.array(segment, jnp.int32), jnp.broadcast_to(jnp.arange(size), (2, size))
  )


def thinned(at, keep):
  """Every slot that `keep` says, padding behind."""
  order = jnp.argsort(~keep, axis=1, stable=True)[:, : int(keep.sum(1).max())]
  take = functools.partial(jnp.take_along_axis, indices=order, axis=1)
  held = take(keep)
  return positions.Slots(jnp.where(held, take(at.segment), 0), take(at.place))


def both(attend, query, key, value, weight):
  """What is read, and the gradients of all three."""

  def loss(query, key, value):
    read = attend(query, key, value)
    return jnp.sum(read * weight), read

  (_, read), gradients = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(
    query, key, value
  )
  return read, gradients


MERGED = slots((40, 15, 20), (9, 60))
TEXT = np.random.default_rng(1).random((2, MERGED.place.shape[1])) < 0.3


@pytest.mark.parametrize(
  ('queries', 'keys', 'heads', 'width'),
  [
    (MERGED, MERGED, (2, 2), 72),
    (thinned(MERGED, TEXT), thinned(MERGED, ~TEXT), (6, 2), 24),
    (thinned(MERGED, TEXT), MERGED, (6, 2), 64),
  ],
  ids=['SELF', 'CROSS', 'last SELF'],
)
def test_flash_is_chunked(queries, keys, heads, width):
  """Values and gradients, of rows and heads that do not fill blocks."""
  q, s = queries.place.shape[1], keys.place.shape[1]
  inputs = tensors(q, s, *heads, width)
  ranges = visibility.ranges(queries, keys)
  got = both(
    functools.partial(
      attention_flash.attend, ranges=ranges, tiles=TILES, interpret=True
    ),
    *inputs,
  )
  want = both(
    functools.partial(
      attention_chunks.attend, query_slots=queries, key_slots=keys, chunk=64
    ),
    *inputs,
  )
  rows.close(got, want, 1e-5)
  nothing = ~np.asarray(visibility.visible(queries, keys)).any(-1)
  assert not np.asarray(got[0])[nothing].any() and nothing.any()


def test_blocks_that_nobody_sees_are_not_read():
  """Of other segments and behind the queries: nan stays there."""
  query, key, value, weight = tensors(32, 128, 2, 1, 16)
  start = jnp.full((2, 32), 32)
  ranges = visibility.Ranges(start, start + 1 + jnp.arange(32))
  key[:, :32] = value[:, 64:] = np.nan
  got = both(
    functools.partial(
      attention_flash.attend, ranges=ranges, tiles=TILES, interpret=True
    ),
    query,
    key,
    value,
    weight,
  )
  for x in jax.tree.leaves(got):
    assert np.isfinite(x).all()


def test_heads_that_are_too_wide_are_named():
  with pytest.raises(ValueError, match='heads of 256 numbers; flash takes 128'):
    query, key, value, _ = tensors(4, 4, 2, 1, 256)
    zeros = jnp.zeros((2, 4), jnp.int32)
    ranges = visibility.Ranges(zeros, zeros + 4)
    attention_flash.attend(query, key, value, ranges)

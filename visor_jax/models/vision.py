"""What vision towers share: pixels, a norm, ratings.

Legend: B batch, I tiles, P patches of a tile, D width, N heads, H head width.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.models import backbone
from visor_jax.models import params
from visor_jax.spec import sizes


def normalized(tiles: jax.Array, size: sizes.Vision, dtype: str) -> jax.Array:
  """uint8 [..., 3] -> [..., 3], colour by colour, computed in float32."""
  x = tiles.astype(jnp.float32) / 255
  return ((x - jnp.array(size.mean)) / jnp.array(size.std)).astype(dtype)


class LayerNorm(nn.Module):
  """LayerNorm in float32; [..., D] -> [..., D]."""

  eps: float

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    d = x.shape[-1:]
    scale = params.param(self, 'scale', d, ('norm',), params.ones)
    bias = params.param(self, 'bias', d, ('norm',), params.zeros)
    high = x.astype(jnp.float32)
    high = jax.nn.standardize(high, axis=-1, epsilon=self.eps)
    return high.astype(x.dtype) * scale.astype(x.dtype) + bias.astype(x.dtype)


def received(query: jax.Array, key: jax.Array) -> jax.Array:
  """How much attention each patch of a tile gets of all.

  One tile of each row at a time, so that scores never fill memory.

  Args:
    query: [B, I, P, N, H], not scaled.
    key: [B, I, P, N, H].

  Returns:
    float32 [B, I, P], averaged over queries and heads.
  """

  def one(tile: tuple[jax.Array, jax.Array]) -> jax.Array:
    query, key = tile
    scores = jnp.einsum(
      'BPNH,BQNH->BNPQ', query, key, preferred_element_type=jnp.float32
    )
    weights = jax.nn.softmax(scores * query.shape[-1] ** -0.5, axis=-1)
    return weights.mean(axis=(1, 2))

  tiles = jax.tree.map(lambda x: x.swapaxes(0, 1), (query, key))
  return jax.lax.map(one, tiles).swapaxes(0, 1)


def rated(
  features: jax.Array, query: jax.Array, key: jax.Array
) -> backbone.PatchFeatures:
  """Features with ratings, through which no gradient goes.

  Args:
    features: [B, I * P, D].
    query: [B * I, P, N, H], not scaled, of the last layer.
    key: likewise.
  """

  def of_tiles(x: jax.Array) -> jax.Array:
    x = jax.lax.stop_gradient(x)
    return x.reshape(len(features), -1, *x.shape[1:])

  query, key = of_tiles(query), of_tiles(key)
  return backbone.PatchFeatures(
    features,
    received(query, key).reshape(features.shape[:2]),
    key.mean(axis=3).reshape(*features.shape[:2], -1),
  )

"""Attention whose scores are all there at once: of few queries, or few keys.

Legend: B batch, Q queries, S keys, N heads, K key heads, H head width, G = N /
K query heads that share a key head.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from visor_jax.models import positions
from visor_jax.models import visibility


class Keys(NamedTuple):
  """Keys that lie in one array: [B, S, K, H], and where they stand."""

  key: jax.Array
  value: jax.Array
  slots: positions.Slots


def attend(
  query: jax.Array, query_slots: positions.Slots, arrays: Sequence[Keys]
) -> jax.Array:
  """Attention over keys that lie in several arrays, scored all at once.

  A new token reads the prompt's cache and that of the tokens after it without
  anyone joining the two.

  Args:
    query: [B, Q, N, H], not scaled.
    query_slots: where the queries stand, [B, Q].
    arrays: keys, values and where they stand.

  Returns:
    [B, Q, N, H] in the dtype of `query`.
  """
  b, q, n, h = query.shape
  scores = jnp.concatenate(
    [
      jnp.where(
        visibility.visible(query_slots, keys.slots)[:, None, None],
        _scores(query, keys.key),
        -jnp.inf,
      )
      for keys in arrays
    ],
    axis=-1,
  )
  # A finite maximum keeps a row without keys at exp(-inf) = 0, not nan.
  top = jnp.max(scores, axis=-1, keepdims=True, initial=-1e30)
  weights = jnp.exp(scores - jax.lax.stop_gradient(top))
  total = jnp.sum(weights, axis=-1, keepdims=True)
  weights = weights / jnp.where(total > 0, total, 1)
  k, g = weights.shape[1:3]
  by_key_head = weights.reshape(b, k, g * q, -1)
  context, start = jnp.zeros((), query.dtype), 0
  for keys in arrays:
    stop = start + keys.value.shape[1]
    of_array = by_key_head[..., start:stop].astype(keys.value.dtype)
    context += jnp.einsum('BKRS,BSKH->BKRH', of_array, keys.value)
    start = stop
  context = context.reshape(b, k, g, q, h)
  return context.transpose(0, 3, 1, 2, 4).reshape(b, q, n, h)


def shares(
  query: jax.Array,
  key: jax.Array,
  query_slots: positions.Slots,
  key_slots: positions.Slots,
) -> jax.Array:
  """How a few queries share out their attention.

  Args:
    query: [B, Q, N, H], not scaled.
    key: [B, S, K, H]; K divides N.
    query_slots: where the queries stand, [B, Q].
    key_slots: where the keys stand, [B, S].

  Returns:
    float32 [B, Q, S], averaged over heads; a query that sees nothing, zeros.
  """
  mask = visibility.visible(query_slots, key_slots)[:, None, None]
  scores = jnp.where(mask, _scores(query, key), -1e30)
  weights = jax.nn.softmax(scores, axis=-1)
  return jnp.where(mask, weights, 0).mean(axis=(1, 2))


def _scores(query: jax.Array, key: jax.Array) -> jax.Array:
  """float32 [B, K, G, Q, S], before masking.

  The queries that share a key head are rows of one matrix: XLA's CPU backend
  takes several times as long for the same product over five axes.
  """
  b, q, n, h = query.shape
  s, k = key.shape[1:3]
  grouped = query.reshape(b, q, k, n // k, h).transpose(0, 2, 3, 1, 4)
  scores = jnp.einsum(
    'BKRH,BSKH->BKRS',
    grouped.reshape(b, k, -1, h),
    key,
    preferred_element_type=jnp.float32,
  )
  return scores.reshape(b, k, n // k, q, s) * h**-0.5

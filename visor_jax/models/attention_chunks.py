"""Attention in chunks of queries and keys: memory of one chunk of scores.

Chunks of keys that no query of a chunk sees are skipped: those behind it, and
those of other segments. The softmax is summed up chunk by chunk
(FlashAttention, arXiv:2205.14135) and computed again in the backward pass, all
products of which take operands in the dtype of the queries and sum in float32.

Legend: B batch, Q queries, S keys, N heads, K key heads, H head width, G = N /
K query heads that share a key head, c queries of a chunk, s its keys.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from visor_jax.models import positions
from visor_jax.models import visibility

State = TypeVar('State')


class _Inputs(NamedTuple):
  """What is scored, in chunks."""

  query: jax.Array  # [chunks, B, K, G * c, H]
  key: jax.Array  # [chunks, B, K, s, H]
  value: jax.Array


class _Slots(NamedTuple):
  """Where they stand."""

  query: positions.Slots  # [chunks, B, c]
  key: positions.Slots  # [chunks, B, s]


def attend(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  query_slots: positions.Slots,
  key_slots: positions.Slots,
  chunk: int,
  ordered: bool = False,
) -> jax.Array:
  """Attention of `query` over `key` and `value`; see attention.attend.

  Args:
    query: [B, Q, N, H], not scaled.
    key: [B, S, K, H].
    value: [B, S, K, H].
    query_slots: where the queries stand, [B, Q].
    key_slots: where the keys stand, [B, S].
    chunk: the most queries, and keys, that are scored at a time.
    ordered: queries and keys are the same slots, in order of their places.

  Returns:
    [B, Q, N, H] in the dtype of `query`.
  """
  b, q, n, h = query.shape
  k = key.shape[2]
  split = functools.partial(_split, most=chunk)
  grouped = split(query.reshape(b, q, k, n // k, h)).transpose(0, 1, 3, 4, 2, 5)
  chunks, *_, size, _ = grouped.shape
  inputs = _Inputs(
    grouped.reshape(chunks, b, k, -1, h),
    split(key).swapaxes(2, 3),
    split(value).swapaxes(2, 3),
  )
  slots = jax.tree.map(split, _Slots(query_slots, key_slots))
  context = _attend(inputs, slots, ordered).reshape(
    chunks, b, k, n // k, size, h
  )
  context = context.transpose(1, 0, 4, 2, 3, 5)
  return context.reshape(b, -1, n, h)[:, :q]


def _split(x: jax.Array, most: int) -> jax.Array:
  """[B, S, ...] to equal chunks, [chunks, B, s, ...]; the rest is zeros."""
  b, count = x.shape[:2]
  chunks = -(-count // most)
  rest = -count % chunks
  x = jnp.pad(x, [(0, 0), (0, rest)] + [(0, 0)] * (x.ndim - 2))
  return x.reshape(b, chunks, -1, *x.shape[2:]).swapaxes(0, 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _attend(inputs: _Inputs, slots: _Slots, ordered: bool) -> jax.Array:
  """[chunks, B, K, G * c, H]."""
  return _forward(inputs, slots, ordered)[0]


def _forward(
  inputs: _Inputs, slots: _Slots, ordered: bool
) -> tuple[jax.Array, tuple]:
  """The context, and what `_backward` wants saved."""
  query, _, value = inputs

  def read(state: tuple, i: jax.Array, j: jax.Array) -> tuple:
    top, total, context = (_take(x, i) for x in state)
    scores = _scores(inputs, slots, i, j)
    new_top = jnp.maximum(top, scores.max(axis=-1, keepdims=True))
    weights, fade = jnp.exp(scores - new_top), jnp.exp(top - new_top)
    read = _product('cs,sH->cH', weights.astype(value.dtype), value[j])
    new = (
      new_top,
      total * fade + weights.sum(axis=-1, keepdims=True),
      context * fade + read,
    )
    return tuple(_put(x, y, i) for x, y in zip(state, new))

  row = jnp.zeros((*query.shape[:-1], 1), jnp.float32)
  # A finite maximum keeps a row without keys at exp(-inf) = 0, not nan.
  start = row - 1e30, row, jnp.zeros(query.shape, jnp.float32)
  top, total, context = _over_pairs(read, start, slots, ordered)
  total = jnp.where(total > 0, total, 1)
  context = (context / total).astype(query.dtype)
  return context, (inputs, slots, context, top + jnp.log(total))


def _backward(
  ordered: bool, saved: tuple, gradient: jax.Array
) -> tuple[_Inputs, None]:
  """The gradient of the inputs, from that of the context."""
  inputs, slots, context, log_total = saved
  query, key, value = inputs
  dot = jnp.sum(
    (gradient * context).astype(jnp.float32), axis=-1, keepdims=True
  )

  def add(state: tuple, i: jax.Array, j: jax.Array) -> tuple:
    weights = jnp.exp(_scores(inputs, slots, i, j) - log_total[i])
    of_weights = _product('cH,sH->cs', gradient[i], value[j])
    of_scores = weights * (of_weights - dot[i]) * query.shape[-1] ** -0.5
    weights, of_scores = (x.astype(query.dtype) for x in (weights, of_scores))
    terms = (
      (_product('cs,sH->cH', of_scores, key[j]), i),
      (_product('cs,cH->sH', of_scores, query[i]), j),
      (_product('cs,cH->sH', weights, gradient[i]), j),
    )
    return tuple(
      _put(x, _take(x, at) + term, at) for x, (term, at) in zip(state, terms)
    )

  start = tuple(jnp.zeros(x.shape, jnp.float32) for x in inputs)
  sums = _over_pairs(add, start, slots, ordered)
  return _Inputs(*(x.astype(y.dtype) for x, y in zip(sums, inputs))), None


_attend.defvjp(_forward, _backward)


def _over_pairs(
  step: Callable[[State, jax.Array, jax.Array], State],
  state: State,
  slots: _Slots,
  ordered: bool,
) -> State:
  """Goes through the pairs of a chunk of queries and one of keys that meet.

  Args:
    step: (state, chunk of queries, chunk of keys) -> state.
    state: to begin with.
    slots: of the chunks.
    ordered: chunks of keys behind one of queries need not be looked at.
  """
  queries, keys = len(slots.query.place), len(slots.key.place)
  pairs = np.argwhere(np.tri(queries, keys, 0 if ordered else keys))
  meet = visibility.chunks_meet(*slots)

  def body(state: State, pair: tuple) -> tuple[State, None]:
    i, j = pair
    return jax.lax.cond(meet[i, j], step, _skip, state, i, j), None

  # Checkpointed, or a scan over layers computes the masks of all pairs before
  # it begins, and keeps them: they are the same for all layers.
  scan = jax.checkpoint(jax.lax.scan, prevent_cse=False, static_argnums=0)
  return scan(body, state, (*pairs.T,))[0]


def _skip(state: State, i: jax.Array, j: jax.Array) -> State:
  del i, j
  return state


def _scores(
  inputs: _Inputs, slots: _Slots, i: jax.Array, j: jax.Array
) -> jax.Array:
  """float32 [B, K, G * c, s] of a pair; -inf where a key is not seen."""
  query, key = _take(inputs.query, i), _take(inputs.key, j)
  scores = _product('cH,sH->cs', query, key) * query.shape[-1] ** -0.5
  seen = visibility.visible(
    positions.Slots(*(_take(x, i) for x in slots.query)),
    positions.Slots(*(_take(x, j) for x in slots.key)),
  )
  by_group = scores.reshape(*scores.shape[:2], -1, *seen.shape[1:])
  masked = jnp.where(seen[:, None, None], by_group, -jnp.inf)
  return masked.reshape(scores.shape)


def _product(axes: str, x: jax.Array, y: jax.Array) -> jax.Array:
  """A product of matrices of every row and key head, in float32."""
  first, second, result = axes.replace('->', ',').split(',')
  return jnp.einsum(
    f'BK{first},BK{second}->BK{result}',
    x,
    y,
    preferred_element_type=jnp.float32,
  )


def _take(x: jax.Array, i: jax.Array) -> jax.Array:
  return jax.lax.dynamic_index_in_dim(x, i, keepdims=False)


def _put(x: jax.Array, new: jax.Array, i: jax.Array) -> jax.Array:
  return jax.lax.dynamic_update_index_in_dim(x, new, i, axis=0)

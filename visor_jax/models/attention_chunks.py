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
Sums = TypeVar('Sums', bound=tuple)


class _Inputs(NamedTuple):
  """What is scored: chunks of the first key head, then of the others."""

  query: jax.Array  # [K * chunks, B, G * c, H]
  key: jax.Array  # [K * chunks, B, s, H]
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
  grouped = split(query.reshape(b, q, k, n // k, h)).transpose(3, 0, 1, 4, 2, 5)
  _, chunks, *_, size, _ = grouped.shape
  of_keys = (jnp.moveaxis(split(x), 3, 0) for x in (key, value))
  inputs = _Inputs(
    grouped.reshape(k * chunks, b, -1, h),
    *(x.reshape(-1, *x.shape[2:]) for x in of_keys),
  )
  slots = jax.tree.map(split, _Slots(query_slots, key_slots))
  context = _attend(inputs, slots, ordered)
  context = context.reshape(k, chunks, b, n // k, size, h)
  context = context.transpose(2, 1, 4, 0, 3, 5)
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
  """[K * chunks, B, G * c, H]."""
  return _forward(inputs, slots, ordered)[0]


def _forward(
  inputs: _Inputs, slots: _Slots, ordered: bool
) -> tuple[jax.Array, tuple]:
  """The context, and what `_backward` wants saved."""
  query, _, value = inputs
  scale = query.shape[-1] ** -0.5

  def read(state: tuple, sums: tuple, i: jax.Array, j: jax.Array) -> tuple:
    top, total, context = state
    scores = _scores(inputs, i, j)
    at = _pair(slots, i, j)
    # Maxima are read of scores that are written down: not to mask them where
    # that need not be, and to scale them later, saves passes.
    scores = jax.lax.cond(
      visibility.every(*at), lambda scores, *_: scores, _masked, scores, *at
    )
    new_top = jnp.maximum(top, scores.max(axis=-1, keepdims=True))
    weights, fade = (jnp.exp(scale * (x - new_top)) for x in (scores, top))
    read = _product('cs,sH->cH', weights.astype(value.dtype), value[j])
    total = total * fade + weights.sum(axis=-1, keepdims=True)
    return (new_top, total, context * fade + read), sums

  row = jnp.zeros((*query.shape[1:-1], 1), jnp.float32)
  # A finite maximum keeps a row without keys at exp(-inf) = 0, not nan.
  start = row - 1e30, row, jnp.zeros(query.shape[1:], jnp.float32)
  (top, total, context), _ = _over_pairs(
    read, start, (), inputs, slots, ordered
  )
  total = jnp.where(total > 0, total, 1)
  context = (context / total).astype(query.dtype)
  return context, (inputs, slots, context, scale * top + jnp.log(total))


def _backward(
  ordered: bool, saved: tuple, gradient: jax.Array
) -> tuple[_Inputs, None]:
  """The gradient of the inputs, from that of the context."""
  inputs, slots, context, log_total = saved
  query, key, value = inputs
  scale = query.shape[-1] ** -0.5
  dot = jnp.sum(
    (gradient * context).astype(jnp.float32), axis=-1, keepdims=True
  )

  def add(
    of_query: jax.Array, sums: tuple, i: jax.Array, j: jax.Array
  ) -> tuple[jax.Array, tuple]:
    scores = _masked(_scores(inputs, i, j), *_pair(slots, i, j))
    weights = jnp.exp(scale * scores - log_total[i])
    of_weights = _product('cH,sH->cs', gradient[i], value[j])
    of_scores = scale * weights * (of_weights - dot[i])
    weights, of_scores = (x.astype(query.dtype) for x in (weights, of_scores))
    terms = (
      _product('cs,cH->sH', of_scores, query[i]),
      _product('cs,cH->sH', weights, gradient[i]),
    )
    sums = tuple(_put(x, _take(x, j) + y, j) for x, y in zip(sums, terms))
    return of_query + _product('cs,sH->cH', of_scores, key[j]), sums

  start = jnp.zeros(query.shape[1:], jnp.float32)
  sums = tuple(jnp.zeros(x.shape, jnp.float32) for x in (key, value))
  of_query, of_keys = _over_pairs(add, start, sums, inputs, slots, ordered)
  gradients = zip((of_query, *of_keys), inputs)
  return _Inputs(*(x.astype(y.dtype) for x, y in gradients)), None


_attend.defvjp(_forward, _backward)


def _over_pairs(
  step: Callable[..., tuple[State, Sums]],
  start: State,
  sums: Sums,
  inputs: _Inputs,
  slots: _Slots,
  ordered: bool,
) -> tuple[State, Sums]:
  """Goes through the pairs of a chunk of queries and one of keys that meet.

  One key head after the other, and of that one chunk of queries: scores of all
  heads would leave a CPU's caches, and the state of a chunk stays in them.

  Args:
    step: (state of the chunk of queries, sums, number of that chunk, of the
      chunk of keys) -> (state, sums).
    start: what each chunk of queries begins with.
    sums: what is carried from the first pair to the last.
    inputs: whose chunks are numbered.
    slots: of the chunks of any head.
    ordered: chunks of keys behind one of queries need not be looked at.

  Returns:
    The states, [K * chunks, ...], and sums.
  """
  queries, keys = len(slots.query.place), len(slots.key.place)
  of_head = np.argwhere(np.tri(queries, keys, 0 if ordered else keys))
  heads = np.arange(len(inputs.key) // keys)
  first = heads[:, None, None] * np.array([queries, keys])
  pairs = (first + of_head).reshape(-1, 2)
  meet = visibility.chunks_meet(*slots)

  def body(carried: tuple, pair: tuple) -> tuple[tuple, None]:
    state, sums, states = carried
    i, j = pair
    begins = j % keys == 0
    state = jax.tree.map(lambda x, y: jnp.where(begins, x, y), start, state)
    state, sums = jax.lax.cond(
      meet[i % queries, j % keys], step, _skip, state, sums, i, j
    )
    states = jax.tree.map(lambda x, y: _put(x, y, i), states, state)
    return (state, sums, states), None

  states = jax.tree.map(
    lambda x: jnp.zeros((len(inputs.query), *x.shape), x.dtype), start
  )
  # Checkpointed, or a scan over layers computes the masks of all pairs before
  # it begins, and keeps them: they are the same for all layers.
  scan = jax.checkpoint(jax.lax.scan, prevent_cse=False, static_argnums=0)
  (_, sums, states), _ = scan(body, (start, sums, states), (*pairs.T,))
  return states, sums


def _skip(
  state: State, sums: Sums, i: jax.Array, j: jax.Array
) -> tuple[State, Sums]:
  del i, j
  return state, sums


def _scores(inputs: _Inputs, i: jax.Array, j: jax.Array) -> jax.Array:
  """float32 [B, G * c, s] of a pair, not scaled, before masking."""
  query, key = _take(inputs.query, i), _take(inputs.key, j)
  return _product('cH,sH->cs', query, key)


def _pair(slots: _Slots, i: jax.Array, j: jax.Array) -> _Slots:
  """Of a chunk of queries and one of keys, [B, c] and [B, s]."""
  query, key = (
    positions.Slots(*(_take(x, at % len(x)) for x in part))
    for part, at in zip(slots, (i, j))
  )
  return _Slots(query, key)


def _masked(
  scores: jax.Array, queries: positions.Slots, keys: positions.Slots
) -> jax.Array:
  """Scores of a pair; -inf where a key is not seen."""
  seen = visibility.visible(queries, keys)
  by_group = scores.reshape(len(scores), -1, *seen.shape[1:])
  masked = jnp.where(seen[:, None], by_group, -jnp.inf)
  return masked.reshape(scores.shape)


def _product(axes: str, x: jax.Array, y: jax.Array) -> jax.Array:
  """A product of matrices of every row, in float32."""
  first, second, result = axes.replace('->', ',').split(',')
  return jnp.einsum(
    f'B{first},B{second}->B{result}',
    x,
    y,
    preferred_element_type=jnp.float32,
  )


def _take(x: jax.Array, i: jax.Array) -> jax.Array:
  return jax.lax.dynamic_index_in_dim(x, i, keepdims=False)


def _put(x: jax.Array, new: jax.Array, i: jax.Array) -> jax.Array:
  return jax.lax.dynamic_update_index_in_dim(x, new, i, axis=0)

"""Who sees whom: the rule of slots.

Every token is a slot: it belongs to a segment and has a place in the sequence
of its row. A query sees a key of its own segment whose place is not after its
own. Keys that stand in order are a range to each query.

Legend: B batch, Q queries, S keys.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from visor_jax.models import positions

# Number of the segment, and place, that padding has among keys in order.
_BEHIND = jnp.iinfo(jnp.int32).max


def visible(
  query_slots: positions.Slots, key_slots: positions.Slots
) -> jax.Array:
  """Who sees whom: bool [B, Q, S]."""
  same = query_slots.segment[:, :, None] == key_slots.segment[:, None, :]
  before = key_slots.place[:, None, :] <= query_slots.place[:, :, None]
  return same & before & (key_slots.segment[:, None, :] > 0)


def every(
  query_slots: positions.Slots, key_slots: positions.Slots
) -> jax.Array:
  """Whether all queries see all keys, bool: then nothing need be masked."""
  segment = jnp.concatenate([query_slots.segment, key_slots.segment], axis=1)
  one = (segment > 0) & (segment == segment[:, :1])
  before = key_slots.place.max(axis=1) <= query_slots.place.min(axis=1)
  return jnp.all(one) & jnp.all(before)


class Ranges(NamedTuple):
  """The keys that queries see, start <= key < end: int32 [B, Q] each."""

  start: jax.Array
  end: jax.Array


def ranges(query_slots: positions.Slots, key_slots: positions.Slots) -> Ranges:
  """Who sees whom, of keys that stand `in_order`.

  A query that sees nothing has an empty range, next to its neighbours'.
  """

  def count(keys: jax.Array, queries: jax.Array, same: bool) -> jax.Array:
    """How many keys come before; and how many are the same, if they count."""
    keys = jnp.where(key_slots.segment > 0, keys, _BEHIND)
    keys, queries = keys[:, None, :], queries[:, :, None]
    before = keys <= queries if same else keys < queries
    return jnp.sum(before, axis=2, dtype=jnp.int32)

  held = query_slots.segment > 0
  segment = jnp.where(held, query_slots.segment, _BEHIND - 1)
  start = count(key_slots.segment, segment, same=False)
  end = jnp.minimum(
    count(key_slots.segment, segment, same=True),
    count(key_slots.place, query_slots.place, same=True),
  )
  return Ranges(start, jnp.where(held, jnp.maximum(start, end), start))


def ranges_of_segments(segment: jax.Array, causal: bool = False) -> Ranges:
  """`ranges` of slots among themselves, without looking at all pairs.

  Args:
    segment: int32 [B, S], of slots `in_order`.
    causal: they see those up to themselves, else all of their segment.
  """
  count = segment.shape[1]
  number = jnp.broadcast_to(jnp.arange(count, dtype=jnp.int32), segment.shape)
  changes = segment[:, 1:] != segment[:, :-1]
  first = jnp.where(jnp.pad(changes, ((0, 0), (1, 0))), number, 0)
  last = jnp.where(jnp.pad(changes, ((0, 0), (0, 1))), number, count - 1)
  held = segment > 0
  start = jnp.where(held, jax.lax.cummax(first, axis=1), number)
  if causal:
    return Ranges(start, number + held)
  end = jax.lax.cummin(last, axis=1, reverse=True) + 1
  return Ranges(start, jnp.where(held, end, start))


def in_order(slots: positions.Slots) -> jax.Array:
  """bool [B]: neither segments nor places fall along rows; padding is last."""
  held = slots.segment > 0
  rises = (slots.place[:, 1:] >= slots.place[:, :-1]) & (
    slots.segment[:, 1:] >= slots.segment[:, :-1]
  )
  return jnp.all(jnp.where(held[:, 1:], rises & held[:, :-1], True), axis=1)


def chunks_meet(
  query_slots: positions.Slots, key_slots: positions.Slots
) -> jax.Array:
  """Which chunks of keys some query of a chunk may see.

  Of a chunk the first and last of its segments and places alone: what is
  said to meet may not, what is said not to never does.

  Args:
    query_slots: chunks of queries, [chunks, B, size].
    key_slots: chunks of keys, likewise.

  Returns:
    bool [chunks of queries, chunks of keys], true where it is so in any row.
  """
  first, last, earliest, _ = _extent(key_slots)
  query_first, query_last, _, latest = _extent(query_slots)
  meet = query_first[:, None] <= last[None]
  meet &= first[None] <= query_last[:, None]
  meet &= earliest[None] <= latest[:, None]
  return meet.any(axis=2)


def _extent(slots: positions.Slots) -> tuple[jax.Array, ...]:
  """Least and greatest segment, and place, of chunks: int32 [chunks, B] each.

  Padding is left out; of nothing else, the least is above the greatest.
  """
  held = slots.segment > 0
  most = jnp.iinfo(jnp.int32).max
  return tuple(
    extent
    for x in slots
    for extent in (
      jnp.min(jnp.where(held, x, most), axis=2),
      jnp.max(jnp.where(held, x, -1), axis=2),
    )
  )

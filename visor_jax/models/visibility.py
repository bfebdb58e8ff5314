"""Who sees whom: the rule of slots.

Every token is a slot: it belongs to a segment and has a place in the sequence
of its row. A query sees a key of its own segment whose place is not after its
own.

Legend: B batch, Q queries, S keys.
"""

import jax
import jax.numpy as jnp

from visor_jax.models import positions


def visible(
  query_slots: positions.Slots, key_slots: positions.Slots
) -> jax.Array:
  """Who sees whom: bool [B, Q, S]."""
  same = query_slots.segment[:, :, None] == key_slots.segment[:, None, :]
  before = key_slots.place[:, None, :] <= query_slots.place[:, :, None]
  return same & before & (key_slots.segment[:, None, :] > 0)


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

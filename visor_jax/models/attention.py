"""Scaled dot-product attention that knows segments and never fills memory.

Every token is a slot: it belongs to a segment and has a place in the sequence
of its row. A query sees a key of its own segment whose place is not after its
own. That one rule serves text among itself, text and image together (SELF),
text looking at the image before it (CROSS), a routing token reading its prompt
and a new token reading a cache. A query that sees nothing gets exactly zero.

Legend: B batch, Q queries, S keys, N heads, K key heads, H head width, G = N /
K query heads that share a key head.
"""

from collections.abc import Callable
import functools
from typing import Any
from typing import NamedTuple
from typing import Protocol

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from visor_jax.models import attention_arrays
from visor_jax.models import attention_chunks
from visor_jax.models import attention_flash
from visor_jax.models import attention_splash
from visor_jax.models import compute as compute_lib
from visor_jax.models import positions
from visor_jax.models import sharding
from visor_jax.models import visibility


class Attend(Protocol):
  """`attend` with a model's Compute filled in."""

  def __call__(
    self,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    query_slots: positions.Slots,
    key_slots: positions.Slots,
    *,
    ordered: bool = False,
  ) -> jax.Array:
    """[B, Q, N, H], what each query finds."""


def attend(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  query_slots: positions.Slots,
  key_slots: positions.Slots,
  *,
  ordered: bool = False,
  compute: compute_lib.Compute = compute_lib.Compute(),
) -> jax.Array:
  """Attention of `query` over `key` and `value`.

  Args:
    query: [B, Q, N, H], not scaled.
    key: [B, S, K, H]; K divides N.
    value: [B, S, K, H].
    query_slots: where the queries stand, [B, Q].
    key_slots: where the keys stand, [B, S].
    ordered: queries and keys are the same slots, in order of their places with
      padding last. Then a causal kernel may be used.
    compute: names the implementation and the chunk. 'auto' picks by backend:
      on GPUs flash in 16-bit numbers; on TPUs splash; else chunks. Few scores
      are computed all at once, and what a kernel does not take in chunks.

  Returns:
    [B, Q, N, H] in the dtype of `query`.
  """
  local = functools.partial(_attend, ordered=ordered, compute=compute)
  return _per_device(local, query, key, value, query_slots, key_slots)


class Local(NamedTuple):
  """What one device has: some queries, and all keys of their rows."""

  query: jax.Array  # [B, Q, N, H]
  key: jax.Array  # [B, S, K, H]
  value: jax.Array
  query_slots: positions.Slots  # [B, Q]
  key_slots: positions.Slots  # [B, S]
  number: jax.Array  # int32 [Q], of the queries in their rows

  @property
  def every(self) -> bool:
    """Whether there are as many queries as keys, not a part of them."""
    return self.query.shape[1] == self.key.shape[1]

  @property
  def few(self) -> bool:
    """Whether scores are so few that a kernel takes longer to start."""
    b, q, n, _ = self.query.shape
    return b * n * q * self.key.shape[1] <= 2**24

  def splash(self, causal: bool) -> jax.Array:
    """By splash attention, of slots among themselves."""
    segments = self.query_slots.segment, self.key_slots.segment
    return attention_splash.attend(
      *self[:3], *segments, self.number[0], causal=causal
    )

  def flash(self, among: bool, causal: bool) -> jax.Array:
    """By flash attention; `among`: of slots among themselves, in order."""
    if among and self.every:
      segment = self.key_slots.segment
      ranges = visibility.ranges_of_segments(segment, causal)
    else:
      ranges = visibility.ranges(self.query_slots, self.key_slots)
    return attention_flash.attend(*self[:3], ranges)


def _attend(
  local: Local, ordered: bool, compute: compute_lib.Compute
) -> jax.Array:
  """`attend` on one device."""
  query, key, value, query_slots, key_slots, _ = local
  implementation = named(compute.attention, query)
  splash = implementation == 'splash' and ordered and not local.few
  if splash and (local.every or attention_splash.fits(query.shape[1])):
    return local.splash(causal=True)
  flash = implementation == 'flash'
  pairs = query.shape[1] * key.shape[1]
  if local.few if flash else pairs <= compute.chunk**2:
    arrays = (attention_arrays.Keys(key, value, key_slots),)
    return attention_arrays.attend(query, query_slots, arrays)
  if flash:
    return local.flash(among=ordered, causal=True)
  return attention_chunks.attend(
    query,
    key,
    value,
    query_slots,
    key_slots,
    compute.chunk,
    ordered and local.every,
  )


def attend_all(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  compute: compute_lib.Compute = compute_lib.Compute(),
  segment: jax.Array | None = None,
) -> jax.Array:
  """Attention of every slot to all of its segment, as vision towers have it.

  Args:
    query: [B, S, N, H], not scaled.
    key: [B, S, N, H].
    value: [B, S, N, H].
    compute: names the implementation, see `attend`.
    segment: int32 [B, S], not falling along rows; None: a row is one.

  Returns:
    [B, S, N, H] in the dtype of `query`.
  """
  rows = 'tiles' if segment is None else 'batch'
  if segment is None:
    segment = jnp.ones(query.shape[:2], jnp.int32)
  slots = positions.Slots(segment, jnp.zeros_like(segment))
  local = functools.partial(_attend_all, tiles=rows == 'tiles', compute=compute)
  return _per_device(local, query, key, value, slots, slots, rows)


def _attend_all(
  local: Local, tiles: bool, compute: compute_lib.Compute
) -> jax.Array:
  """`attend_all` on one device; rows that are `tiles` are one segment."""
  implementation = named(compute.attention, local.query)
  if implementation == 'chunked' or local.few:
    if not tiles:
      return _attend(local, False, compute)
    return jax.nn.dot_product_attention(*local[:3], implementation='xla')
  if implementation == 'splash':
    return local.splash(causal=False)
  return local.flash(among=True, causal=False)


def named(implementation: str, query: jax.Array) -> str:
  """The implementation of a name; what 'auto' stands for on this backend."""
  if implementation != 'auto':
    return implementation
  backend = jax.default_backend()
  half = query.dtype in (jnp.bfloat16, jnp.float16)
  if backend == 'gpu' and half and attention_flash.fits(query.shape[-1]):
    return 'flash'
  return 'splash' if backend == 'tpu' else 'chunked'


def _per_device(
  kernel: Callable[[Local], jax.Array],
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  query_slots: positions.Slots,
  key_slots: positions.Slots,
  rows: str = 'batch',
) -> jax.Array:
  """Runs a kernel where rows, heads and queries lie.

  A compiler cannot look into a kernel, so each device is told to run it on its
  queries, to which all keys of their rows are brought; alone, or where nobody
  says what axes mean, it is run as it is.

  Args:
    kernel: makes context [B, Q, N, H] of what a device has.
    query: [B, Q, N, H].
    key: [B, S, K, H].
    value: [B, S, K, H].
    query_slots: [B, Q].
    key_slots: [B, S].
    rows: what the first axis is of, 'batch' or 'tiles'.

  Returns:
    [B, Q, N, H].
  """
  mesh = jax.sharding.get_abstract_mesh()
  number = jnp.arange(query.shape[1])
  inputs = Local(query, key, value, query_slots, key_slots, number)
  if mesh.empty or mesh.size == 1:
    return kernel(inputs)
  slots = 'slots' if rows == 'batch' else None
  queries = sharding.spec(query.shape, rows, slots, 'heads')
  keys = sharding.spec(key.shape, rows, None, 'key_heads')
  of_queries, of_keys = (PartitionSpec(*x[:2]) for x in (queries, keys))
  of_number = PartitionSpec(queries[1])
  specs: Any = queries, keys, keys, of_queries, of_keys, of_number
  return jax.shard_map(
    kernel,
    in_specs=(Local(*specs),),
    out_specs=queries,
    check_vma=False,
  )(inputs)

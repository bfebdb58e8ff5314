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
from collections.abc import Sequence
import functools
from typing import Any
from typing import NamedTuple
from typing import Protocol

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.models import attention_chunks
from visor_jax.models import attention_flash
from visor_jax.models import attention_splash
from visor_jax.models import compute as compute_lib
from visor_jax.models import positions
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


class Keys(NamedTuple):
  """Keys that lie in one array: [B, S, K, H], and where they stand."""

  key: jax.Array
  value: jax.Array
  slots: positions.Slots


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
  implementation = named(compute.attention, query)
  if implementation == 'splash' and ordered and not _few(query, key):
    attend = _per_device(attention_splash.attend)
    return attend(query, key, value, key_slots.segment)
  flash = implementation == 'flash'
  pairs = query.shape[1] * key.shape[1]
  if _few(query, key) if flash else pairs <= compute.chunk**2:
    return attend_arrays(query, query_slots, (Keys(key, value, key_slots),))
  if flash:
    if ordered:
      ranges = visibility.ranges_of_segments(key_slots.segment, causal=True)
    else:
      ranges = visibility.ranges(query_slots, key_slots)
    return _per_device(attention_flash.attend)(query, key, value, ranges)
  return attention_chunks.attend(
    query, key, value, query_slots, key_slots, compute.chunk, ordered
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
  implementation = named(compute.attention, query)
  if implementation == 'chunked' or _few(query, key):
    if segment is None:
      return jax.nn.dot_product_attention(
        query, key, value, implementation='xla'
      )
    slots = positions.Slots(segment, jnp.zeros_like(segment))
    return attend(query, key, value, slots, slots, compute=compute)
  if segment is None:
    segment = jnp.ones(query.shape[:2], jnp.int32)
  if implementation == 'splash':
    splash = functools.partial(attention_splash.attend, causal=False)
    return _per_device(splash)(query, key, value, segment)
  ranges = visibility.ranges_of_segments(segment)
  return _per_device(attention_flash.attend)(query, key, value, ranges)


def named(implementation: str, query: jax.Array) -> str:
  """The implementation of a name; what 'auto' stands for on this backend."""
  if implementation != 'auto':
    return implementation
  backend = jax.default_backend()
  half = query.dtype in (jnp.bfloat16, jnp.float16)
  if backend == 'gpu' and half and attention_flash.fits(query.shape[-1]):
    return 'flash'
  return 'splash' if backend == 'tpu' else 'chunked'


def _few(query: jax.Array, key: jax.Array) -> bool:
  """Whether scores are so few that a kernel takes longer to start."""
  b, q, n, _ = query.shape
  return b * n * q * key.shape[1] <= 2**24


def attend_arrays(
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


# (query, key, value, int32 arrays [B, ..] of slots or ranges) -> context.
Kernel = Callable[[jax.Array, jax.Array, jax.Array, Any], jax.Array]


def _per_device(kernel: Kernel) -> Kernel:
  """A kernel over rows and heads that lie on several devices.

  A compiler cannot look into it, so each device is told to run it on its
  shard; alone, or where nobody says what axes mean, it is run as it is.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return kernel
  axes = nn.logical_to_mesh_axes
  queries = axes(('batch', None, 'heads', None))
  keys = axes(('batch', None, 'key_heads', None))
  rows: Any = axes(('batch', None))
  return jax.shard_map(
    kernel,
    in_specs=(queries, keys, keys, rows),
    out_specs=queries,
    check_vma=False,
  )

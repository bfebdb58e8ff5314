"""Scaled dot-product attention that knows segments and never fills memory.

Every token is a slot: it belongs to a segment and has a place in the sequence
of its row. A query sees a key of its own segment whose place is not after its
own. That one rule serves text among itself, text and image together (SELF),
text looking at the image before it (CROSS), a routing token reading its prompt
and a new token reading a cache. A query that sees nothing gets exactly zero.

Legend: B batch, Q queries, S keys, N heads, K key heads, H head width.
"""

from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp


class Slots(NamedTuple):
  """Where tokens stand: int32 [B, S] each; segment 0 is padding."""

  segment: jax.Array
  place: jax.Array

  def __add__(self, other: 'Slots') -> 'Slots':
    """These slots, then the others."""
    return Slots(*(jnp.concatenate(p, axis=1) for p in zip(self, other)))


IMPLEMENTATIONS = ('auto', 'chunked', 'cudnn', 'splash')


def attend(
  query,
  key,
  value,
  query_slots,
  key_slots,
  *,
  ordered=False,
  packed=True,
  implementation='auto',
  chunk=512,
):
  """Attention of `query` over `key` and `value`.

  Args:
    query: [B, Q, N, H], not scaled.
    key: [B, S, K, H]; K divides N.
    value: [B, S, K, H].
    query_slots: Slots of the queries.
    key_slots: Slots of the keys.
    ordered: queries and keys are the same slots, in order of their places with
      padding last. Then a causal kernel may be used.
    packed: a row may hold several segments.
    implementation: 'auto' picks by backend: on GPU cuDNN, where rows are not
      packed; on TPU splash; else query chunks. Kernels serve `ordered` calls.
    chunk: queries scored at a time by 'chunked'.

  Returns:
    [B, Q, N, H] in the dtype of `query`.

  Raises:
    ValueError: an unknown implementation.
  """
  if implementation not in IMPLEMENTATIONS:
    raise ValueError(
      f'model.attention is "{implementation}", not one of {IMPLEMENTATIONS}'
    )
  if implementation == 'auto':
    implementation = _pick(query, packed)
  if implementation == 'cudnn' and ordered and not packed:
    return _cudnn(query, key, value, key_slots)
  if implementation == 'splash' and ordered and _splash_fits(query):
    return _apart(_splash)(query, key, value, key_slots)
  return _chunked(query, key, value, query_slots, key_slots, chunk)


def _pick(query, packed):
  backend = jax.default_backend()
  half = query.dtype in (jnp.bfloat16, jnp.float16)
  if backend == 'gpu' and half and not packed and query.shape[-1] % 8 == 0:
    return 'cudnn'
  return 'splash' if backend == 'tpu' else 'chunked'


def visible(query_slots: Slots, key_slots: Slots) -> jax.Array:
  """Who sees whom: bool [B, Q, S]."""
  same = query_slots.segment[:, :, None] == key_slots.segment[:, None, :]
  before = key_slots.place[:, None, :] <= query_slots.place[:, :, None]
  return same & before & (key_slots.segment[:, None, :] > 0)


def attend_parts(query, query_slots, parts):
  """Attention over keys that lie in several places, scored all at once.

  A new token reads the prompt's cache and that of the tokens after it without
  anyone joining the two.

  Args:
    query: [B, Q, N, H], not scaled.
    query_slots: Slots of the queries.
    parts: ((key [B, S, K, H], value [B, S, K, H], Slots of the keys), ...).

  Returns:
    [B, Q, N, H] in the dtype of `query`.
  """
  b, q, n, h = query.shape
  k = parts[0][0].shape[2]
  grouped = query.reshape(b, q, k, n // k, h)
  scores = jnp.concatenate(
    [
      jnp.where(
        visible(query_slots, slots)[:, None, None],
        jnp.einsum(
          'BQKGH,BSKH->BKGQS', grouped, key, preferred_element_type=jnp.float32
        )
        * h**-0.5,
        -jnp.inf,
      )
      for key, _, slots in parts
    ],
    axis=-1,
  )
  # A finite maximum keeps a row without keys at exp(-inf) = 0, not nan.
  top = jnp.max(scores, axis=-1, keepdims=True, initial=-1e30)
  weights = jnp.exp(scores - jax.lax.stop_gradient(top))
  total = jnp.sum(weights, axis=-1, keepdims=True)
  weights = weights / jnp.where(total > 0, total, 1)
  out, start = 0, 0
  for _, value, _ in parts:
    some = weights[..., start : start + value.shape[1]].astype(value.dtype)
    out += jnp.einsum('BKGQS,BSKH->BQKGH', some, value)
    start += value.shape[1]
  return out.reshape(b, q, n, h)


def shares(query, key, query_slots, key_slots):
  """How a few queries share out their attention.

  Args:
    query: [B, Q, N, H], not scaled.
    key: [B, S, K, H]; K divides N.
    query_slots: Slots of the queries.
    key_slots: Slots of the keys.

  Returns:
    float32 [B, Q, S], averaged over heads; a query that sees nothing, zeros.
  """
  b, q, n, h = query.shape
  k = key.shape[2]
  seen = visible(query_slots, key_slots)[:, None, None]
  scores = (
    jnp.einsum(
      'BQKGH,BSKH->BKGQS',
      query.reshape(b, q, k, n // k, h),
      key,
      preferred_element_type=jnp.float32,
    )
    * h**-0.5
  )
  weights = jax.nn.softmax(jnp.where(seen, scores, -1e30), axis=-1)
  return jnp.where(seen, weights, 0).mean(axis=(1, 2))


def _chunked(query, key, value, query_slots, key_slots, chunk):
  """Query chunks of at most `chunk`: memory grows with S, not with Q * S."""
  b, q, n, h = query.shape
  if q <= chunk:
    return attend_parts(query, query_slots, ((key, value, key_slots),))
  pad = -q % chunk
  split = lambda x: jnp.moveaxis(
    jnp.pad(x, [(0, 0), (0, pad)] + [(0, 0)] * (x.ndim - 2)).reshape(
      b, -1, chunk, *x.shape[2:]
    ),
    1,
    0,
  )

  @jax.checkpoint
  def one(part):
    query, slots = part
    return attend_parts(query, slots, ((key, value, key_slots),))

  out = jax.lax.map(one, (split(query), Slots(*map(split, query_slots))))
  return jnp.moveaxis(out, 0, 1).reshape(b, -1, n, h)[:, :q]


def _cudnn(query, key, value, slots):
  """cuDNN's flash kernel: causal, one segment a row, padding behind it."""
  lengths = jnp.sum(slots.segment > 0, axis=1, dtype=jnp.int32)
  out = jax.nn.dot_product_attention(
    query,
    key,
    value,
    is_causal=True,
    query_seq_lengths=lengths,
    key_value_seq_lengths=lengths,
    implementation='cudnn',
  )
  return jnp.where(slots.segment[:, :, None, None] > 0, out, 0)


def _apart(kernel):
  """A kernel over rows and heads that lie on several devices.

  A compiler cannot look into it, so each device is told to run it on its own
  part; alone, or where nobody says what axes mean, it is run as it is.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return kernel
  axes = nn.logical_to_mesh_axes
  keys, rows = axes(('batch', None, 'key_heads', None)), axes(('batch', None))
  query = axes(('batch', None, 'heads', None))
  return jax.shard_map(
    kernel,
    in_specs=(query, keys, keys, Slots(rows, rows)),
    out_specs=query,
    check_vma=False,
  )


def _splash_fits(query):
  """Splash works in blocks of 128 rows."""
  return query.shape[1] % 128 == 0


def _splash(query, key, value, slots, interpret=False):
  """Pallas splash attention for TPU: causal and segment-aware, grouped keys."""
  from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_kernel as kernel,
  )
  from jax.experimental.pallas.ops.tpu.splash_attention import (
    splash_attention_mask as masks,
  )

  b, s, n, h = query.shape
  k = key.shape[2]
  mask = masks.MultiHeadMask([masks.CausalMask((s, s))] * (n // k))
  run = kernel.make_splash_mqa_single_device(mask, interpret=interpret)
  query = (query * h**-0.5).reshape(b, s, k, n // k, h).transpose(0, 2, 3, 1, 4)
  key, value = (x.transpose(0, 2, 1, 3) for x in (key, value))
  segments = kernel.SegmentIds(q=slots.segment, kv=slots.segment)
  over_keys = jax.vmap(run, in_axes=(0, 0, 0, None))  # key heads of one row
  out = jax.vmap(over_keys)(query, key, value, segments)  # [B, K, N/K, S, H]
  out = out.transpose(0, 3, 1, 2, 4).reshape(b, s, n, h)
  return jnp.where(slots.segment[:, :, None, None] > 0, out, 0)

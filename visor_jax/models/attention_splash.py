"""Splash attention for TPUs (Pallas), as jax has it: segments, grouped keys.

Legend: B batch, S slots, N heads, K key heads, G = N / K, H head width.
"""

import jax
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as kernel_lib,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_mask as masks,
)
import jax.numpy as jnp

# Rows of a block, the more the better; a row of slots is filled up to a
# multiple of the least.
BLOCKS = (512, 256, 128)


def fits(queries: int) -> bool:
  """Whether so many may be a part of a row's slots."""
  return queries % BLOCKS[-1] == 0


def attend(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  query_segment: jax.Array,
  key_segment: jax.Array,
  first: jax.Array,
  causal: bool = True,
  interpret: bool = False,
) -> jax.Array:
  """Attention of slots to those of their row.

  Args:
    query: [B, Q, N, H], not scaled; of all slots of a row, or of one of equal
      parts of them. If causal, a part `fits`.
    key: [B, S, K, H]; K divides N.
    value: [B, S, K, H].
    query_segment: int32 [B, Q]; 0 is padding, whose result is zero.
    key_segment: int32 [B, S].
    first: int32, the number of the first query among the slots.
    causal: a slot sees those of its segment up to itself, else all of them.
    interpret: run the kernel where there is no TPU.

  Returns:
    [B, Q, N, H] in the dtype of `query`.
  """
  b, q, n, h = query.shape
  k, parts = key.shape[2], key.shape[1] // q
  query, key, value, queries, keys = map(
    _fill, (query, key, value, query_segment, key_segment)
  )
  rows, s = query.shape[1], key.shape[1]
  if causal:
    mask: masks.Mask = masks.CausalMask((parts * rows, s))
  else:
    parts, mask = 1, masks.FullMask((rows, s))
  run = kernel_lib.make_splash_mqa(
    masks.MultiHeadMask([mask] * (n // k)),
    block_sizes=_blocks(_largest(rows), _largest(s)),
    head_shards=1,
    q_seq_shards=parts,
    interpret=interpret,
  )
  run = jax.tree.map(lambda x: _part(x, parts, first // q), run)
  query = (query * h**-0.5).reshape(b, rows, k, n // k, h)
  query, key, value = (
    query.transpose(0, 2, 3, 1, 4),
    key.transpose(0, 2, 1, 3),
    value.transpose(0, 2, 1, 3),
  )
  segments = kernel_lib.SegmentIds(q=queries, kv=keys)
  over_keys = jax.vmap(run, in_axes=(0, 0, 0, None))  # key heads of one row
  context = jax.vmap(over_keys)(query, key, value, segments)  # [B, K, G, Q, H]
  context = context.transpose(0, 3, 1, 2, 4).reshape(b, rows, n, h)
  return jnp.where(queries[:, :, None, None] > 0, context, 0)[:, :q]


def _fill(x: jax.Array) -> jax.Array:
  """[B, S, ...] with zeros behind, up to whole blocks."""
  rest = -x.shape[1] % BLOCKS[-1]
  return jnp.pad(x, ((0, 0), (0, rest)) + ((0, 0),) * (x.ndim - 2))


def _part(x: jax.Array, parts: int, number: jax.Array) -> jax.Array:
  """What a part of the queries needs of what kernels know of the mask.

  Args:
    x: [queries], or [1, blocks of queries, blocks of keys].
    parts: of the queries.
    number: which part.
  """
  if parts == 1:
    return x
  axis = min(x.ndim - 1, 1)
  size = x.shape[axis] // parts
  return jax.lax.dynamic_slice_in_dim(x, number * size, size, axis)


def _largest(rows: int) -> int:
  return next(block for block in BLOCKS if rows % block == 0)


def _blocks(queries: int, keys: int) -> kernel_lib.BlockSizes:
  return kernel_lib.BlockSizes(
    block_q=queries,
    block_kv=keys,
    block_q_dkv=queries,
    block_kv_dkv=keys,
    block_q_dq=queries,
    block_kv_dq=keys,
  )

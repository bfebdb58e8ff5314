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


def attend(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  segment: jax.Array,
  causal: bool = True,
  interpret: bool = False,
) -> jax.Array:
  """Attention of slots among themselves.

  Args:
    query: [B, S, N, H], not scaled.
    key: [B, S, K, H]; K divides N.
    value: [B, S, K, H].
    segment: int32 [B, S]; 0 is padding, whose result is zero.
    causal: a slot sees those of its segment up to itself, else all of them.
    interpret: run the kernel where there is no TPU.

  Returns:
    [B, S, N, H] in the dtype of `query`.
  """
  b, count, n, h = query.shape
  k, rest = key.shape[2], -count % BLOCKS[-1]
  query, key, value = (
    jnp.pad(x, ((0, 0), (0, rest), (0, 0), (0, 0))) for x in (query, key, value)
  )
  segment = jnp.pad(segment, ((0, 0), (0, rest)))
  s = count + rest
  shape = masks.CausalMask if causal else masks.FullMask
  run = kernel_lib.make_splash_mqa_single_device(
    masks.MultiHeadMask([shape((s, s))] * (n // k)),
    block_sizes=_blocks(next(rows for rows in BLOCKS if s % rows == 0)),
    interpret=interpret,
  )
  query = (query * h**-0.5).reshape(b, s, k, n // k, h).transpose(0, 2, 3, 1, 4)
  key, value = (x.transpose(0, 2, 1, 3) for x in (key, value))
  segments = kernel_lib.SegmentIds(q=segment, kv=segment)
  over_keys = jax.vmap(run, in_axes=(0, 0, 0, None))  # key heads of one row
  context = jax.vmap(over_keys)(query, key, value, segments)  # [B, K, G, S, H]
  context = context.transpose(0, 3, 1, 2, 4).reshape(b, s, n, h)
  return jnp.where(segment[:, :, None, None] > 0, context, 0)[:, :count]


def _blocks(rows: int) -> kernel_lib.BlockSizes:
  return kernel_lib.BlockSizes(
    block_q=rows,
    block_kv=rows,
    block_q_dkv=rows,
    block_kv_dkv=rows,
    block_q_dq=rows,
    block_kv_dq=rows,
  )

"""Attention with its log-sum-exp over a cache that vLLM manages."""

from collections.abc import Callable
from typing import Any

import torch
from vllm import forward_context
from vllm.model_executor.layers.attention import Attention

from vllm_visor import one_softmax


def metadata(attention: Attention) -> Any:
  """Of the running step; None while vLLM measures memory."""
  by_layer = forward_context.get_forward_context().attn_metadata
  return by_layer and by_layer[attention.layer_name]


def attend(
  attention: Attention,
  query: torch.Tensor,
  key: torch.Tensor | None,
  value: torch.Tensor | None,
  causal: bool,
  lengths: torch.Tensor | None = None,
) -> one_softmax.Result:
  """Writes keys and values, then reads all that the requests have.

  Args:
    attention: whose cache it is.
    query: [T, N, H].
    key: [T, K, H], of new tokens; None if there are none.
    value: likewise.
    causal: whether the tokens are those of the last keys.
    lengths: [R], how many keys of each request are read; None for all.

  Raises:
    ValueError: this attention of vLLM gives no log-sum-exp.
  """
  name, step = attention.backend.name, metadata(attention)
  if name not in _KERNELS:
    raise ValueError(
      f'SELF layers run with {", ".join(_KERNELS)}, not {name}: '
      '--attention-backend FLASH_ATTN'
    )
  if step is None:
    return torch.zeros_like(query), query.new_zeros(query.shape[1::-1])
  return _KERNELS[name](attention, step, query, key, value, causal, lengths)


def _plain(
  attention: Attention,
  step: Any,
  query: torch.Tensor,
  key: torch.Tensor | None,
  value: torch.Tensor | None,
  causal: bool,
  lengths: torch.Tensor | None,
) -> one_softmax.Result:
  """On a CPU, whose kernel keeps its log-sum-exp to itself."""
  if key is not None:
    slots = step.slot_mapping[: len(key)]
    one_softmax.write_pages(
      attention.kv_cache, key[: len(slots)], value[: len(slots)], slots
    )
  return one_softmax.attend_pages(
    query,
    attention.kv_cache,
    step.query_start_loc,
    step.seq_lens if lengths is None else lengths,
    step.block_table,
    attention.impl.scale,
    causal,
  )


def _flash(
  attention: Attention,
  step: Any,
  query: torch.Tensor,
  key: torch.Tensor | None,
  value: torch.Tensor | None,
  causal: bool,
  lengths: torch.Tensor | None,
) -> one_softmax.Result:
  """On a GPU, as vLLM's own backend calls it."""
  from vllm.v1.attention.backends import fa_utils

  impl, cache = attention.impl, attention.kv_cache
  if key is not None:
    impl.do_kv_cache_update(attention, key, value, cache, step.slot_mapping)
  keys, values = cache.transpose(1, 2).split(impl.head_size, -1)
  out, lse = torch.zeros_like(query), query.new_zeros(query.shape[1::-1])
  count = step.num_actual_tokens
  _, lse[:, :count] = fa_utils.flash_attn_varlen_func(
    q=query[:count].contiguous(),
    k=keys,
    v=values,
    out=out[:count],
    cu_seqlens_q=step.query_start_loc,
    max_seqlen_q=step.max_query_len,
    seqused_k=step.seq_lens if lengths is None else lengths,
    max_seqlen_k=step.max_seq_len,
    softmax_scale=impl.scale,
    causal=causal,
    block_table=step.block_table,
    scheduler_metadata=step.scheduler_metadata if lengths is None else None,
    return_softmax_lse=True,
    fa_version=impl.vllm_flash_attn_version,
    num_splits=step.max_num_splits,
  )
  return out, lse


_KERNELS: dict[str, Callable[..., one_softmax.Result]] = dict(
  CPU_ATTN=_plain, FLASH_ATTN=_flash
)

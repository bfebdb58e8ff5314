"""What layers read of an image: computed once, before any question.

A visual token sees what stands before it and nothing behind, so that all of
this depends on the image, the text before it and the plan.

Legend: P tokens of the prefix, V visual tokens, T either, D width, N heads, K
key heads, H head width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

CROSS, SELF = 'cross', 'self'  # kinds of layers that look


def project(
  layer: nn.Module, x: torch.Tensor, position: torch.Tensor
) -> tuple[torch.Tensor, ...]:
  """Query, key and value of a layer of Qwen2, [T, N or K, H] each."""
  attention = layer.self_attn
  qkv, _ = attention.qkv_proj(layer.input_layernorm(x))
  sizes = [attention.q_size, attention.kv_size, attention.kv_size]
  query, key, value = qkv.split(sizes, -1)
  query, key = attention.rotary_emb(position, query, key)
  return tuple(
    part.reshape(len(x), -1, attention.head_dim) for part in (query, key, value)
  )


def finish(
  layer: nn.Module, x: torch.Tensor, context: torch.Tensor
) -> torch.Tensor:
  """The rest of the layer behind its attention, [T, D]."""
  out, _ = layer.self_attn.o_proj(context.flatten(1))
  out, x = layer.post_attention_layernorm(out, x)
  return x + layer.mlp(out)


class Reader:
  """Keys and values of images, by layer.

  Args:
    layers: of the decoder.
    kinds: what each does under the plan of this server.
    cross: CROSS layers, by number.
    slots: makes the places of visual tokens out of their positions.
  """

  def __init__(
    self,
    layers: nn.ModuleList,
    kinds: list[str],
    cross: nn.ModuleDict,
    slots: Callable[[torch.Tensor], Any],
  ):
    self.layers, self.kinds, self.cross, self.slots = (
      layers,
      kinds,
      cross,
      slots,
    )
    self.looking = [n for n, kind in enumerate(kinds) if kind in (CROSS, SELF)]
    self.selves = [n for n, kind in enumerate(kinds) if kind == SELF]

  def read(self, text: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
    """Keys and values of each looking layer side by side, [V, columns].

    Args:
      text: [P, D], embedded tokens before the image.
      visual: [V, D], of tower and connector.
    """
    count, columns = len(text), []
    position = torch.arange(count + len(visual), device=visual.device)
    last = max(self.looking)
    for number, layer in enumerate(self.layers[: last + 1]):
      if self.kinds[number] == SELF:
        x = torch.cat([text, visual])
        query, key, value = project(layer, x, position)
        columns += [key[count:], value[count:]]
        if number < last:  # nobody asks what comes of it in the last one
          x = finish(layer, x, _causal(query, key, value))
          text, visual = x[:count], x[count:]
        continue
      if self.kinds[number] == CROSS:
        keys = self.cross[str(number)].keys(
          visual[None], self.slots(position[count:])
        )
        columns += [part[0].transpose(0, 1) for part in keys]
      if count and number < max(self.selves, default=0):
        query = project(layer, text, position[:count])
        text = finish(layer, text, _causal(*query))
    return torch.cat([part.flatten(1) for part in columns], -1)


def _causal(
  query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
  """[T, N, H], each token of itself and those before it."""
  query, key, value = (x.transpose(0, 1)[None] for x in (query, key, value))
  out = functional.scaled_dot_product_attention(
    query, key, value, is_causal=True, enable_gqa=True
  )
  return out[0].transpose(0, 1)

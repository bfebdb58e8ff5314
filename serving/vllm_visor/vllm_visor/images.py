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

from vllm_visor import plans


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
  """Layers on prompts whose images flow with the text.

  Args:
    layers: of the decoder.
    cross: CROSS layers, by number.
    slots: makes the places of tokens out of their positions.
  """

  def __init__(
    self,
    layers: nn.ModuleList,
    cross: nn.ModuleDict,
    slots: Callable[[torch.Tensor], Any],
  ):
    self.layers, self.cross, self.slots = layers, cross, slots

  def run(
    self,
    kinds: list[str],
    text: torch.Tensor,
    count: int,
    visual: torch.Tensor,
    keys_alone: bool = False,
  ) -> tuple[dict[int, torch.Tensor], torch.Tensor, torch.Tensor]:
    """Some layers, from the first on.

    Args:
      kinds: what each of them does.
      text: [T, D], embedded.
      count: how many of it stand before the image.
      visual: [V, D], of tower and connector.
      keys_alone: whether nobody asks what the last one makes of them.

    Returns:
      Keys and values of each layer that looks, side by side, [V, columns];
      what becomes of the text, and of the image.
    """
    columns: dict[int, torch.Tensor] = {}
    position = torch.arange(len(text) + len(visual), device=visual.device)
    here = slice(count, count + len(visual))
    text_position = torch.cat([position[:count], position[here.stop :]])
    for number, (layer, kind) in enumerate(zip(self.layers, kinds)):
      if kind == plans.SELF:
        x = torch.cat([text[:count], visual, text[count:]])
        query, key, value = project(layer, x, position)
        columns[number] = torch.cat([key[here], value[here]], 1).flatten(1)
        if keys_alone and number == len(kinds) - 1:
          break
        x = finish(layer, x, _causal(query, key, value))
        text, visual = torch.cat([x[:count], x[here.stop :]]), x[here]
        continue
      if kind == plans.CROSS:
        cross = self.cross[str(number)]
        keys = cross.keys(visual[None], self.slots(position[here]))
        columns[number] = torch.cat(keys, 1)[0].transpose(0, 1).flatten(1)
        if len(text) > count:
          behind = text[None, count:]
          query = cross.queries(behind, self.slots(text_position[count:]))
          context = functional.scaled_dot_product_attention(
            query, *keys, enable_gqa=True
          )
          behind = behind + cross.joined(context)
          text = torch.cat([text[:count], behind[0]])
      if len(text):
        query, key, value = project(layer, text, text_position)
        text = finish(layer, text, _causal(query, key, value))
    return columns, text, visual


def _causal(
  query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
  """[T, N, H], each token of itself and those before it."""
  query, key, value = (x.transpose(0, 1)[None] for x in (query, key, value))
  out = functional.scaled_dot_product_attention(
    query, key, value, is_causal=True, enable_gqa=True
  )
  return out[0].transpose(0, 1)

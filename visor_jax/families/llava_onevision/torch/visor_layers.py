"""The weights that VISOR adds to its base: cross attention and router.

Legend: B batch, T text, V visual, D width, N heads, K key heads, H head width.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .visor_slots import Keys
from .visor_slots import Layout
from .visor_slots import Slots
from .visor_slots import runs
from .visor_slots import sees


def _weight(*shape: int) -> nn.Parameter:
  return nn.Parameter(torch.randn(shape) * shape[0] ** -0.5)


def _zeros(*shape: int) -> nn.Parameter:
  return nn.Parameter(torch.zeros(shape))


class Norm(nn.Module):
  """x / rms(x) * scale, computed in float32."""

  def __init__(self, text_config: Any):
    super().__init__()
    self.scale = nn.Parameter(torch.ones(text_config.hidden_size))
    self.eps = text_config.rms_norm_eps

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """[..., D] -> [..., D]."""
    high = functional.rms_norm(x.float(), x.shape[-1:], eps=self.eps)
    return self.scale * high.to(x.dtype)


class CrossAttention(nn.Module):
  """Text reads the image."""

  def __init__(self, text_config: Any, options: dict[str, Any]):
    super().__init__()
    d, n = text_config.hidden_size, text_config.num_attention_heads
    h = getattr(text_config, 'head_dim', None) or d // n
    k = n if options['key_heads'] == 'full' else text_config.num_key_value_heads
    self.query, self.query_bias = _weight(d, n, h), _zeros(n, h)
    self.key, self.key_bias = _weight(d, k, h), _zeros(k, h)
    self.value, self.value_bias = _weight(d, k, h), _zeros(k, h)
    self.out = _zeros(n, h, d)  # a fresh one adds nothing
    self.rope = options['rope']
    self.conv = _zeros(7, d) if options['conv'] else None
    norm = options['norm']
    self.text_norm = Norm(text_config) if norm else nn.Identity()
    self.visual_norm = Norm(text_config) if norm else nn.Identity()

  def keys(self, visual: torch.Tensor, images: Slots) -> Keys:
    """What text will read of the image: key and value, [B, K, V, H] each."""
    if self.conv is not None:
      visual = self._add_positions(visual, images.place)
    visual = self.visual_norm(visual)
    key = torch.einsum('bvd,dkh->bkvh', visual, self.key)
    value = torch.einsum('bvd,dkh->bkvh', visual, self.value)
    key, value = key + self.key_bias[:, None], value + self.value_bias[:, None]
    return images.rotate(key) if self.rope else key, value

  def forward(
    self, text: torch.Tensor, keys: Keys, layout: Layout
  ) -> torch.Tensor:
    """What is added to the text, [B, T, D]; to that before the image, 0."""
    visible = sees(layout.text.place, layout.visual)
    any_visible = visible.any(-1, keepdim=True)
    context = functional.scaled_dot_product_attention(
      self.queries(text, layout.text),
      *keys,
      attn_mask=visible | ~any_visible,
      enable_gqa=True,
    )
    return self.joined(context * any_visible)

  def queries(self, text: torch.Tensor, slots: Slots) -> torch.Tensor:
    """What the text asks, [B, N, T, H]."""
    query = torch.einsum('btd,dnh->bnth', self.text_norm(text), self.query)
    query = query + self.query_bias[:, None]
    return slots.rotate(query) if self.rope else query

  def joined(self, context: torch.Tensor) -> torch.Tensor:
    """What the heads have read, [B, N, T, H], to [B, T, D]."""
    return torch.einsum('bnth,nhd->btd', context, self.out)

  def _add_positions(
    self, visual: torch.Tensor, place: torch.Tensor
  ) -> torch.Tensor:
    """Adds a depthwise convolution along each run of visual tokens."""
    reach = self.conv.shape[0] // 2
    added = visual.clone()
    for row, row_place in enumerate(place):
      for start, stop in runs(row_place):
        run = functional.pad(visual[row, start:stop], (0, 0, reach, reach))
        for tap, weight in enumerate(self.conv):
          near = run[tap : tap + stop - start]
          added[row, start:stop].addcmul_(near, weight)
    return added


class Router(nn.Module):
  """Scores of the viable plans."""

  def __init__(self, text_config: Any, options: dict[str, Any]):
    super().__init__()
    d, f, plans = text_config.hidden_size, options['hidden'], options['plans']
    self.token = _weight(d)
    self.norm = Norm(text_config)
    self.up, self.up_bias = _weight(d, f), _zeros(f)
    self.down, self.bias = _zeros(f, plans), _zeros(plans)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """[B, D], what it reads of prompts, to float32 [B, plans]."""
    x = self.norm(x.float()) @ self.up.float() + self.up_bias
    x = functional.gelu(x, approximate='tanh')
    return x @ self.down.float() + self.bias


class Visor(nn.Module):
  """All of them, by the names that their tensors have."""

  def __init__(self, text_config: Any, facts: dict[str, Any]):
    super().__init__()
    architecture = facts['architecture']
    crosses = [
      str(layer)
      for layer, kind in enumerate(architecture['layout']['kinds'])
      if kind == 'cross'
    ]
    options = architecture['cross']
    self.cross = nn.ModuleDict(
      {layer: CrossAttention(text_config, options) for layer in crosses}
    )
    if 'router' in facts['trained']:
      self.router = Router(text_config, architecture['router'])

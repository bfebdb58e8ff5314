"""Layers run as TEXT, CROSS and SELF, on text and images apart.

Legend: B batch, S sequence, T text, V visual, D width.
"""

from typing import Any

import torch

from .visor_slots import NOWHERE
from .visor_slots import Cache
from .visor_slots import Layout
from .visor_slots import Slots
from .visor_slots import places
from .visor_slots import positions
from .visor_slots import sees
from .visor_slots import take

TEXT, CROSS, SELF = 'text', 'cross', 'self'
Plan = tuple[bool, ...]


class Layers:
  """The layers of a VISOR model, which is this too: see modeling_visor."""

  def kinds_of(self, plan: Plan) -> list[str]:
    """What each layer does under a plan."""
    kinds = list(self.config.visor['architecture']['layout']['kinds'])
    for layer, on in zip(self.optional, plan):
      kinds[layer] = SELF if on else TEXT
    return kinds

  def run_layers(
    self,
    layers: range,
    kinds: list[str],
    text: torch.Tensor,
    visual: torch.Tensor | None,
    layout: Layout,
    cache: Cache | None,
  ) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Layers on text [B, T, D], and on images [B, V, D] that flow with it."""
    flowing = layout.text if visual is None else layout.all
    text_mask = self._mask(layout.text.place, layout.text_keys)
    all_mask = self._mask(flowing.place, layout.all_keys)

    def run(
      layer: int, x: torch.Tensor, mask: Any, slots: Slots
    ) -> torch.Tensor:
      return self.model.language_model.layers[layer](
        x,
        attention_mask=mask,
        position_embeddings=(slots.cos, slots.sin),
        past_key_values=cache,
      )

    for layer in layers:
      if kinds[layer] == SELF and visual is not None:
        both = take(torch.cat([text, visual], 1), layout.order)
        both = run(layer, both, all_mask, layout.all)
        both = take(both, layout.order.argsort(1))
        text, visual = both.split([text.shape[1], visual.shape[1]], 1)
      elif kinds[layer] == SELF:
        text = run(layer, text, all_mask, layout.text)
      else:
        if kinds[layer] == CROSS and layout.visual.shape[1]:
          text = text + self._read(layer, text, visual, layout, cache)
        text = run(layer, text, text_mask, layout.text)
    return text, visual

  def _read(
    self,
    layer: int,
    text: torch.Tensor,
    visual: torch.Tensor | None,
    layout: Layout,
    cache: Cache | None,
  ) -> torch.Tensor:
    """What the text reads of the images in a CROSS layer, [B, T, D]."""
    cross = self.visor.cross[str(layer)]
    if visual is None:
      return cross(text, cache.cross[layer], layout)
    keys = cross.keys(visual, layout.images)
    if cache is not None:
      cache.cross[layer] = keys
    return cross(text, keys, layout)

  def place_prompt(
    self,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    image_embeds: torch.Tensor,
    cache: Cache | None,
  ) -> tuple[torch.Tensor, torch.Tensor, Layout]:
    """A prompt's text and images, and where they stand."""
    if attention_mask is None:
      attention_mask = torch.ones_like(input_ids)
    valid, is_image = (
      attention_mask.bool(),
      input_ids == self.config.image_token_id,
    )
    position = positions(valid)
    text_place, visual_place = (
      places(valid & ~is_image),
      places(valid & is_image),
    )
    all_place, order = torch.cat([text_place, visual_place], 1).sort(1)

    def at(x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
      return x.gather(1, torch.where(place == NOWHERE, 0, place))

    text = self.get_input_embeddings()(at(input_ids, text_place))
    visual = image_embeds[:, : visual_place.shape[1]].to(text.dtype)
    slots = [
      self.slots_at(text, place, at(position, place))
      for place in (text_place, visual_place, all_place)
    ]
    layout = Layout(
      slots[0], text_place, all_place, visual_place, *slots[1:], order
    )
    if cache is not None:
      cache.places = text_place, all_place, visual_place
      cache.length = input_ids.shape[1]
    return text, visual, layout

  def place_more(
    self,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor | None,
    cache: Cache,
  ) -> tuple[torch.Tensor, Layout]:
    """Text behind what a cache holds, and where it stands."""
    count = input_ids.shape[1]
    if attention_mask is None:
      attention_mask = input_ids.new_ones(len(input_ids), cache.length + count)
    valid = attention_mask.bool()
    place = torch.arange(count, device=valid.device) + cache.length
    place = torch.where(valid[:, -count:], place, NOWHERE)
    text = self.get_input_embeddings()(input_ids)
    slots = self.slots_at(text, place, positions(valid)[:, -count:])
    layout = behind(cache, slots, place)
    cache.places = layout.text_keys, layout.all_keys, layout.visual
    cache.length += count
    return text, layout

  def slots_at(
    self, x: torch.Tensor, place: torch.Tensor, position: torch.Tensor
  ) -> Slots:
    return Slots(place, *self.model.language_model.rotary_emb(x, position))

  def _mask(
    self, place: torch.Tensor, keys: torch.Tensor
  ) -> torch.Tensor | None:
    """What is added to scores, [B, 1, T, keys]; None for plain causal ones."""
    causal = place.shape == keys.shape and not (place == NOWHERE).any()
    if causal and self.config.text_config._attn_implementation == 'sdpa':
      return None
    zero = torch.zeros((), dtype=self.dtype, device=place.device)
    return zero.where(sees(place, keys), torch.finfo(self.dtype).min)


def behind(cache: Cache, slots: Slots, keys: torch.Tensor) -> Layout:
  """Text behind what a cache holds, whose keys have these places."""
  text, both, visual = cache.places
  return Layout(
    slots, torch.cat([text, keys], 1), torch.cat([both, keys], 1), visual
  )

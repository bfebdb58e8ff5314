"""What a decoder layer does as TEXT, CROSS and SELF, on weights it is given.

The layer's weights are the same whatever its kind; a CROSS layer has those of
its cross attention beside them.

Legend: B batch, T text, V visual, S = T + V, D width.
"""

import dataclasses
from typing import Any
from typing import NamedTuple
from typing import cast

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.models import attention
from visor_jax.models import caches as caches_lib
from visor_jax.models import cross_attention
from visor_jax.models import layers
from visor_jax.models import params
from visor_jax.models import positions
from visor_jax.models import sharding
from visor_jax.reduction import method
from visor_jax.spec import plan as plans


class HiddenStates(NamedTuple):
  """What flows through the layers."""

  text: jax.Array  # [B, T, D]
  visual: jax.Array  # [B, V, D]


class Role(NamedTuple):
  """What a layer is to do."""

  kind: str
  optional: bool  # the plan may switch it off
  visual: method.VisualWork  # what it does to visual tokens as SELF


class Weights(NamedTuple):
  """Parameters of layers that follow one another."""

  layers: params.Tree  # [layers, ...]
  cross: params.Tree  # [CROSS layers, ...], None where there are none


@dataclasses.dataclass(frozen=True)
class LayerKinds:
  """The kinds, as functions of weights and hidden states.

  Attributes:
    layer: a decoder layer, unbound.
    cross_layer: a cross attention, unbound.
    attend: attention with the model's settings filled in.
  """

  layer: layers.Layer
  cross_layer: nn.Module
  attend: attention.Attend

  def period(
    self,
    roles: tuple[Role, ...],
    hidden: HiddenStates,
    token_layout: positions.TokenLayout,
    weights: Weights,
    plan: jax.Array | None,
    image: tuple[caches_lib.ImageCache, ...] | None = None,
  ) -> tuple[HiddenStates, tuple[caches_lib.LayerCache, ...]]:
    """Layers one after the other; and what those not optional keep.

    Args:
      roles: of the layers.
      hidden: what flows in.
      token_layout: where the tokens stand.
      weights: of the layers.
      plan: bool [optional layers], None where there are none.
      image: what the layers made of the image before; None: they read it now.
    """
    crosses = optionals = 0
    caches = []
    for i, (kind, optional, work) in enumerate(roles):
      layer, cross_keys = params.take_layer(weights.layers, i), None
      known = image[i] if image else caches_lib.ImageCache()
      if optional:
        runs = params.take_layer(plan, optionals)
        hidden = self.optional_self(layer, hidden, token_layout, runs, work)
        optionals += 1
        continue
      if kind == plans.SELF:
        if known.layer:
          hidden, key_value = self.self_text(
            layer, hidden, token_layout, known.layer
          )
        else:
          hidden, key_value = self.self_(layer, hidden, token_layout, work)
      else:
        if kind == plans.CROSS:
          cross = params.take_layer(weights.cross, crosses)
          hidden, cross_keys = self.cross(
            cross, hidden, token_layout, known.cross
          )
          crosses += 1
        hidden, key_value = self.text(layer, hidden, token_layout)
      caches.append(caches_lib.LayerCache(key_value, cross_keys))
    return hidden, tuple(caches)

  def text(
    self,
    weights: params.Tree,
    hidden: HiddenStates,
    token_layout: positions.TokenLayout,
  ) -> tuple[HiddenStates, caches_lib.KeyValue]:
    """The base layer over the text alone."""
    slots = token_layout.text
    layer = self.layer.bind({'params': weights})
    text = sharding.constrain_slots(hidden.text)
    query, key, value = layer.qkv(text, token_layout.text_position)
    context = self.attend(query, key, value, slots, slots, ordered=True)
    text = layer.output(text, context)
    return hidden._replace(text=text), (key, value)

  def self_(
    self,
    weights: params.Tree,
    hidden: HiddenStates,
    token_layout: positions.TokenLayout,
    work: method.VisualWork = method.VisualWork(),
  ) -> tuple[HiddenStates, caches_lib.KeyValue]:
    """The base layer over text and image in the row's order.

    Args:
      weights: the layer's.
      hidden: what flows in.
      token_layout: where the tokens stand.
      work: what is done to visual tokens; the text reads them anyway.
    """
    t = hidden.text.shape[1]
    merged, text_slots = token_layout.merged, token_layout.text
    position = token_layout.merged_position
    layer = self.layer.bind({'params': weights})
    both = jnp.concatenate([hidden.text, hidden.visual], axis=1)
    both = positions.permute(both, token_layout.order, token_layout.place)
    both = sharding.constrain_slots(both)
    if not work.attention:
      query, key, value = layer.qkv(both, position, text_slots.place)
      context = self.attend(query, key, value, text_slots, merged)
      text = layer.output(params.take_slots(both, text_slots.place), context)
      visual = hidden.visual
      visual = layer.feed_forward(visual) if work.mlp else visual
      return HiddenStates(text, visual), (key, value)
    query, key, value = layer.qkv(both, position)
    context = self.attend(query, key, value, merged, merged, ordered=True)
    both = layer.attended(both, context)
    both = layer.feed_forward(both) if work.mlp else both
    both = positions.permute(both, token_layout.place, token_layout.order)
    text, visual = both[:, :t], both[:, t:]
    text = text if work.mlp else layer.feed_forward(text)
    return HiddenStates(text, visual), (key, value)

  def self_text(
    self,
    weights: params.Tree,
    hidden: HiddenStates,
    token_layout: positions.TokenLayout,
    image: caches_lib.KeyValue,
  ) -> tuple[HiddenStates, caches_lib.KeyValue]:
    """`self_` of the text alone: the image's keys and values are known."""
    layer = self.layer.bind({'params': weights})
    text = sharding.constrain_slots(hidden.text)
    query, key, value = layer.qkv(text, token_layout.text_position)
    key, value = caches_lib.merge((key, value), image, token_layout)
    slots = token_layout.text, token_layout.merged
    text = layer.output(text, self.attend(query, key, value, *slots))
    return hidden._replace(text=text), (key, value)

  def optional_self(
    self,
    weights: params.Tree,
    hidden: HiddenStates,
    token_layout: positions.TokenLayout,
    runs: jax.Array,
    work: method.VisualWork,
  ) -> HiddenStates:
    """`self_` where the plan runs the layer, a bool [], else `text`."""

    def on(text: jax.Array, visual: jax.Array) -> tuple[jax.Array, jax.Array]:
      before = HiddenStates(text, visual)
      after, _ = self.self_(weights, before, token_layout, work)
      return after.text, after.visual

    def off(text: jax.Array, visual: jax.Array) -> tuple[jax.Array, jax.Array]:
      before = HiddenStates(text, visual)
      after, _ = self.text(weights, before, token_layout)
      return after.text, visual

    # Checkpointed, because a cond saves for both branches what either needs
    # in the backward pass: the zeros of a branch that is off cost as much as
    # the attention they stand for.
    text, visual = jax.lax.cond(
      runs, jax.checkpoint(on), jax.checkpoint(off), hidden.text, hidden.visual
    )
    return HiddenStates(text, visual)

  def cross(
    self,
    weights: params.Tree,
    hidden: HiddenStates,
    token_layout: positions.TokenLayout,
    keys: Any = None,
  ) -> tuple[HiddenStates, Any]:
    """Adds what the text reads of the image, see `read`."""
    read, keys = self.read(weights, hidden, token_layout, keys)
    text = sharding.constrain_slots(hidden.text + read)
    return hidden._replace(text=text), keys

  def read(
    self,
    weights: params.Tree,
    hidden: HiddenStates,
    token_layout: positions.TokenLayout,
    keys: Any = None,
  ) -> tuple[jax.Array, Any]:
    """What the text reads of the image.

    Args:
      weights: of the cross attention.
      hidden: what flows in.
      token_layout: where the tokens stand.
      keys: what the cross attention's `keys` made of the image, if it did.

    Returns:
      [B, T, D], and what the cross attention's `keys` made of the image.
    """
    slots, visual_slots = token_layout.text, token_layout.visual
    position = token_layout.text_position
    module = self.bind_cross(weights)
    if keys is None:
      visual_position = token_layout.visual_position
      keys = module.keys(hidden.visual, visual_slots, visual_position)
    read = module(hidden.text, keys, slots, visual_slots, position, self.attend)
    return read, keys

  def bind_cross(self, weights: params.Tree) -> cross_attention.CrossAttention:
    """The cross attention with its weights."""
    module = self.cross_layer.bind({'params': weights})
    return cast(cross_attention.CrossAttention, module)

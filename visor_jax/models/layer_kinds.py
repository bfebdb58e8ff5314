"""What a decoder layer does as TEXT, CROSS and SELF, on weights it is given.

The layer's weights are the same whatever its kind; a CROSS layer has those of
its cross attention beside them.

Legend: B batch, T text, R routing tokens, V visual, S = T + V, D width.
"""

import dataclasses
from typing import Any
from typing import NamedTuple
from typing import cast

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.models import attention
from visor_jax.models import cross_attention
from visor_jax.models import layers
from visor_jax.models import params
from visor_jax.models import positions
from visor_jax.spec import plan as plans

KeyValue = tuple[jax.Array, jax.Array]  # [B, S, K, H] each


class HiddenStates(NamedTuple):
  """What flows through the layers."""

  text: jax.Array  # [B, T (+ R), D]: routing tokens, if any, come last
  visual: jax.Array  # [B, V, D]
  route: positions.Slots | None = None  # [B, R]
  route_position: jax.Array | None = None  # int32 [B, R]


class LayerCache(NamedTuple):
  """What a layer keeps of the prompt for the tokens to come."""

  layer: KeyValue  # of the text; in SELF of the image too
  cross: Any = None  # in CROSS: what its module's `keys` made of the image


class Role(NamedTuple):
  """What a layer is to do."""

  kind: str
  optional: bool  # the plan may switch it off
  last: bool  # nobody reads the image after it: it stays as it was


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
  ) -> tuple[HiddenStates, tuple[LayerCache, ...]]:
    """Layers one after the other; and what those not optional keep.

    Args:
      roles: of the layers.
      hidden: what flows in.
      token_layout: where the tokens stand.
      weights: of the layers.
      plan: bool [optional layers], None where there are none.
    """
    crosses = optionals = 0
    caches = []
    for i, (kind, optional, last) in enumerate(roles):
      layer, cross_keys = params.take_layer(weights.layers, i), None
      if optional:
        runs = params.take_layer(plan, optionals)
        hidden = self.optional_self(layer, hidden, token_layout, runs, last)
        optionals += 1
        continue
      if kind == plans.SELF:
        hidden, key_value = self.self_(layer, hidden, token_layout, last)
      else:
        if kind == plans.CROSS:
          cross = params.take_layer(weights.cross, crosses)
          hidden, cross_keys = self.cross(cross, hidden, token_layout)
          crosses += 1
        hidden, key_value = self.text(layer, hidden, token_layout)
      caches.append(LayerCache(key_value, cross_keys))
    return hidden, tuple(caches)

  def text(
    self,
    weights: params.Tree,
    hidden: HiddenStates,
    token_layout: positions.TokenLayout,
  ) -> tuple[HiddenStates, KeyValue]:
    """The base layer over the text alone; routing tokens only look on."""
    t = token_layout.text.place.shape[1]
    slots = token_layout.text
    layer = self.layer.bind({'params': weights})
    text = params.constrain_batch(hidden.text)
    query, key, value = layer.qkv(text, _text_position(hidden, token_layout))
    key, value = key[:, :t], value[:, :t]
    context = self.attend(query[:, :t], key, value, slots, slots, ordered=True)
    if hidden.route is not None:
      routed = self.attend(query[:, t:], key, value, hidden.route, slots)
      context = jnp.concatenate([context, routed], axis=1)
    text = layer.output(text, context)
    return hidden._replace(text=text), (key, value)

  def self_(
    self,
    weights: params.Tree,
    hidden: HiddenStates,
    token_layout: positions.TokenLayout,
    last: bool = False,
  ) -> tuple[HiddenStates, KeyValue]:
    """The base layer over text and image in the row's order.

    Args:
      weights: the layer's.
      hidden: without routing tokens.
      token_layout: where the tokens stand.
      last: the image is not read any more, and left as it was.
    """
    if hidden.route is not None:
      raise ValueError('a routing token cannot pass a SELF layer')
    t = hidden.text.shape[1]
    merged, text_slots = token_layout.merged, token_layout.text
    position = token_layout.merged_position
    layer = self.layer.bind({'params': weights})
    both = jnp.concatenate([hidden.text, hidden.visual], axis=1)
    both = positions.permute(both, token_layout.order, token_layout.place)
    both = params.constrain_batch(both)
    if last:
      query, key, value = layer.qkv(both, position, text_slots.place)
      context = self.attend(query, key, value, text_slots, merged)
      text = layer.output(params.take_slots(both, text_slots.place), context)
      return hidden._replace(text=text), (key, value)
    query, key, value = layer.qkv(both, position)
    context = self.attend(query, key, value, merged, merged, ordered=True)
    both = layer.output(both, context)
    both = positions.permute(both, token_layout.place, token_layout.order)
    hidden = hidden._replace(text=both[:, :t], visual=both[:, t:])
    return hidden, (key, value)

  def optional_self(
    self,
    weights: params.Tree,
    hidden: HiddenStates,
    token_layout: positions.TokenLayout,
    runs: jax.Array,
    last: bool,
  ) -> HiddenStates:
    """`self_` where the plan runs the layer, a bool [], else `text`."""

    def on(text: jax.Array, visual: jax.Array) -> tuple[jax.Array, jax.Array]:
      before = hidden._replace(text=text, visual=visual)
      after, _ = self.self_(weights, before, token_layout, last)
      return after.text, after.visual

    def off(text: jax.Array, visual: jax.Array) -> tuple[jax.Array, jax.Array]:
      before = hidden._replace(text=text, visual=visual)
      after, _ = self.text(weights, before, token_layout)
      return after.text, visual

    # Checkpointed, because a cond saves for both branches what either needs
    # in the backward pass: the zeros of a branch that is off cost as much as
    # the attention they stand for.
    text, visual = jax.lax.cond(
      runs, jax.checkpoint(on), jax.checkpoint(off), hidden.text, hidden.visual
    )
    return hidden._replace(text=text, visual=visual)

  def cross(
    self,
    weights: params.Tree,
    hidden: HiddenStates,
    token_layout: positions.TokenLayout,
  ) -> tuple[HiddenStates, Any]:
    """Adds what text and routing tokens read of the image, see `read`."""
    read, keys = self.read(weights, hidden, token_layout)
    text = params.constrain_batch(hidden.text + read)
    return hidden._replace(text=text), keys

  def read(
    self,
    weights: params.Tree,
    hidden: HiddenStates,
    token_layout: positions.TokenLayout,
  ) -> tuple[jax.Array, Any]:
    """What text and routing tokens read of the image.

    Args:
      weights: of the cross attention.
      hidden: with or without routing tokens.
      token_layout: where the tokens stand.

    Returns:
      [B, T (+ R), D], and what the cross attention's `keys` made of the image.
    """
    slots, visual_slots = token_layout.text, token_layout.visual
    if hidden.route is not None:
      slots = positions.join(slots, hidden.route)
    position = _text_position(hidden, token_layout)
    module = self.bind_cross(weights)
    keys = module.keys(
      hidden.visual, visual_slots, token_layout.visual_position
    )
    read = module(hidden.text, keys, slots, visual_slots, position, self.attend)
    return read, keys

  def bind_cross(self, weights: params.Tree) -> cross_attention.CrossAttention:
    """The cross attention with its weights."""
    module = self.cross_layer.bind({'params': weights})
    return cast(cross_attention.CrossAttention, module)

  def rate(
    self,
    weights: params.Tree,
    hidden: HiddenStates,
    token_layout: positions.TokenLayout,
  ) -> jax.Array:
    """How much of a prompt's last token's attention a visual token gets.

    Of a conversation with several prompts the last counts. Scores are computed
    of these few queries alone.

    Args:
      weights: of the layer whose attention it is.
      hidden: what flows into that layer.
      token_layout: where the tokens stand.

    Returns:
      float32 [B, V], averaged over heads.
    """
    text_position = token_layout.text_position
    visual_position = token_layout.visual_position
    query, key = self.layer.bind({'params': weights}).query_key(
      jnp.concatenate([hidden.text, hidden.visual], axis=1),
      jnp.concatenate([text_position, visual_position], axis=1),
      token_layout.prompt_end,
    )
    both = positions.join(token_layout.text, token_layout.visual)
    shares = attention.shares(query, key, token_layout.prompt, both)
    of_visual = shares[:, :, hidden.text.shape[1] :]
    segment, place = token_layout.prompt
    same = segment[:, None] == segment[:, :, None]
    later = same & (place[:, None] > place[:, :, None])
    is_last = ~later.any(axis=2)
    visual_segment = token_layout.visual.segment
    asks = segment[:, :, None] == visual_segment[:, None]
    asks &= is_last[:, :, None]
    return jnp.max(jnp.where(asks, of_visual, 0), axis=1, initial=0)


def _text_position(
  hidden: HiddenStates, token_layout: positions.TokenLayout
) -> jax.Array:
  """int32 [B, T (+ R)], of text and routing tokens."""
  if hidden.route_position is None:
    return token_layout.text_position
  return jnp.concatenate(
    [token_layout.text_position, hidden.route_position], axis=1
  )

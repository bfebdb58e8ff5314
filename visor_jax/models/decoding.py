"""Tokens through the decoder, from what layers keep of the prompt before them.

Legend: B batch, R prompts, M room for new tokens, D width, K key heads, H head
width, L layers.
"""

from typing import NamedTuple
from typing import TypeVar

import jax
import jax.numpy as jnp

from visor_jax.models import attention_arrays
from visor_jax.models import caches as caches_lib
from visor_jax.models import layer_kinds
from visor_jax.models import params
from visor_jax.models import positions
from visor_jax.spec import plan as plans

# Keys and values of new tokens, [L, B, M, K, H] each.
NewCache = tuple[jax.Array, jax.Array]

# The hidden state of a new token, [B, 1, D], and the tokens before it; or of
# tokens that only look on, [B, R, D], and nothing: nobody sees them.
Before = TypeVar('Before', NewCache, None)
State = tuple[jax.Array, Before]


class DecodeState(NamedTuple):
  """The prompt as a new token sees it."""

  caches: tuple[caches_lib.SpanCaches, ...]  # of spans that ran in one go
  token_layouts: tuple[positions.TokenLayout, ...]  # of the prompt there
  segment: jax.Array  # int32 [B], of the conversation that goes on
  position: jax.Array  # int32 [B], of its next token


class NewToken(NamedTuple):
  """Where the token stands, and those before it."""

  position: jax.Array  # int32 [B, 1]
  slots: positions.Slots  # [B, 1]
  number: jax.Array  # int32 [], which new token it is, counted from 0
  all_slots: positions.Slots  # [B, M], of all the new tokens there may be


class Onlookers(NamedTuple):
  """Where tokens stand that see the prompt, and that nobody sees."""

  position: jax.Array  # int32 [B, R]
  slots: positions.Slots  # [B, R]


def onlookers(prompt: positions.TokenLayout) -> Onlookers:
  """One behind each prompt, which sees what its last token sees."""
  end = prompt.prompt_end
  position = jnp.take_along_axis(prompt.text_position, end, axis=1) + 1
  return Onlookers(position, prompt.prompt)


def new_token(
  state: DecodeState,
  number: jax.Array,
  prompt: positions.TokenLayout,
  room: int,
) -> NewToken:
  """Where a new token stands in the layers whose prompt has this layout.

  Args:
    state: the prompt.
    number: int32, which new token it is, counted from 0.
    prompt: of the same, in these layers.
    room: for so many new tokens there are keys and values.
  """
  first = prompt.place.shape[1]  # places behind the prompt's are free
  places = (first + jnp.arange(room)).astype(jnp.int32)
  all_slots = positions.Slots(
    *jnp.broadcast_arrays(state.segment[:, None], places[None])
  )
  slots = positions.Slots(
    all_slots.segment[:, :1],
    jnp.full_like(all_slots.place[:, :1], first) + number,
  )
  return NewToken(state.position[:, None] + number, slots, number, all_slots)


class Layer(NamedTuple):
  """What a layer needs on every token, taken from the stacks."""

  number: int  # which layer of the decoder it is
  kind: str
  weights: params.Tree
  cross: params.Tree  # of its cross attention; None where it is no CROSS layer
  cache: caches_lib.LayerCache


def run_layer(
  modules: layer_kinds.LayerKinds,
  layer: Layer,
  state: State[Before],
  token: NewToken | Onlookers,
  prompt: positions.TokenLayout,
) -> State[Before]:
  """A layer on tokens behind a prompt.

  Args:
    modules: of the decoder.
    layer: what it needs.
    state: of the tokens, as they flow into it.
    token: where they stand.
    prompt: where the prompt's tokens stand.

  Returns:
    `state` behind the layer; a new token's keys and values are in it.
  """
  text, new_cache = state
  if layer.kind == plans.CROSS:
    text += modules.bind_cross(layer.cross)(
      text,
      layer.cache.cross,
      token.slots,
      prompt.visual,
      token.position,
      modules.attend,
    )
  bound = modules.layer.bind({'params': layer.weights})
  prompt_slots = prompt.merged if layer.kind == plans.SELF else prompt.text
  arrays = [attention_arrays.Keys(*layer.cache.layer, prompt_slots)]
  if new_cache is None or isinstance(token, Onlookers):
    query = bound.queries(text, token.position)
  else:
    query, key, value = bound.qkv(text, token.position)
    start = (layer.number, 0, token.number, 0, 0)
    keys, values = new_cache = (
      jax.lax.dynamic_update_slice(new_cache[0], key[None], start),
      jax.lax.dynamic_update_slice(new_cache[1], value[None], start),
    )
    of_layer = keys[layer.number], values[layer.number]
    arrays.append(attention_arrays.Keys(*of_layer, token.all_slots))
  context = attention_arrays.attend(query, token.slots, arrays)
  return bound.output(text, context), new_cache

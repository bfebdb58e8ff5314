"""Tokens through the decoder, from what layers keep of the prompt before them.

Legend: B batch, R prompts, M room for new tokens, D width, K key heads, H head
width, L layers.
"""

from typing import NamedTuple
from typing import TypeVar

import jax
import jax.numpy as jnp

from visor_jax.models import attention
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


class PeriodInputs(NamedTuple):
  """What a period of layers needs beside the tokens."""

  weights: layer_kinds.Weights
  caches: tuple[caches_lib.LayerCache, ...]
  numbers: jax.Array  # int32 [layers], which layers of the decoder they are


def run_period(
  modules: layer_kinds.LayerKinds,
  kinds: tuple[str, ...],
  state: State[Before],
  inputs: PeriodInputs,
  token: NewToken | Onlookers,
  prompt: positions.TokenLayout,
) -> State[Before]:
  """The layers of a period, one after the other, on tokens behind a prompt.

  Args:
    modules: of the decoder.
    kinds: of the layers.
    state: of the tokens, as they flow into the period.
    inputs: weights, caches and numbers of the layers.
    token: where they stand.
    prompt: where the prompt's tokens stand.

  Returns:
    `state` behind the period; a new token's keys and values are in it.
  """
  text, new_cache = state
  crosses = 0
  for i, kind in enumerate(kinds):
    cache = inputs.caches[i]
    if kind == plans.CROSS:
      cross = modules.bind_cross(
        params.take_layer(inputs.weights.cross, crosses)
      )
      crosses += 1
      text += cross(
        text,
        cache.cross,
        token.slots,
        prompt.visual,
        token.position,
        modules.attend,
      )
    weights = params.take_layer(inputs.weights.layers, i)
    layer = modules.layer.bind({'params': weights})
    prompt_slots = prompt.merged if kind == plans.SELF else prompt.text
    arrays = [attention.Keys(*cache.layer, prompt_slots)]
    if new_cache is None or isinstance(token, Onlookers):
      query = layer.queries(text, token.position)
    else:
      query, key, value = layer.qkv(text, token.position)
      number = inputs.numbers[i]
      start = (number, 0, token.number, 0, 0)
      keys, values = new_cache = (
        jax.lax.dynamic_update_slice(new_cache[0], key[None], start),
        jax.lax.dynamic_update_slice(new_cache[1], value[None], start),
      )
      arrays.append(
        attention.Keys(keys[number], values[number], token.all_slots)
      )
    context = attention.attend_arrays(query, token.slots, arrays)
    text = layer.output(text, context)
  return text, new_cache

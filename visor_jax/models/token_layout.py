"""Where every token of a batch stands: its segment, its place, its position.

Legend: B batch, T text, R prompts, V visual, S = T + V.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from visor_jax.models import attention
from visor_jax.reduction import gather
from visor_jax.spec import batch as batch_lib


class TokenLayout(NamedTuple):
  """Where every token of a batch stands."""

  text: attention.Slots
  visual: attention.Slots
  merged: attention.Slots  # text and visual slots in order of their places
  text_position: jax.Array  # int32 [B, T], counted from the segment's start
  visual_position: jax.Array
  position: jax.Array  # int32 [B, S], of the merged slots
  order: jax.Array  # int32 [B, S]: which slot is at a place
  place: jax.Array  # int32 [B, S]: the inverse, the place of a slot
  prompt: attention.Slots  # [B, R]: the text that ends a prompt
  end: jax.Array  # int32 [B, R]: which text slot that is


def from_batch(batch: batch_lib.Batch) -> TokenLayout:
  """Derives all geometry from segments and places."""
  text = attention.Slots(batch.text_segment, batch.text_place)
  visual = attention.Slots(batch.visual_segment, batch.visual_place)
  both = text + visual
  order = jnp.argsort(both.place, axis=1)
  segment = jnp.take_along_axis(both.segment, order, axis=1)
  index = jnp.broadcast_to(jnp.arange(order.shape[1]), order.shape)
  starts = jnp.pad(segment[:, 1:] != segment[:, :-1], ((0, 0), (1, 0)))
  start = jax.lax.cummax(jnp.where(starts, index, 0), axis=1)
  position = index - start
  of = lambda place: jnp.take_along_axis(position, place, axis=1)
  prompt = attention.Slots(batch.prompt_segment, batch.prompt_place)
  end = jnp.argmax(prompt.place[:, :, None] == text.place[:, None], axis=2)
  return TokenLayout(
    text,
    visual,
    attention.Slots(segment, index),
    of(text.place),
    of(visual.place),
    position,
    order,
    both.place,
    prompt,
    end,
  )


def keep_visual(rows: TokenLayout, kept: gather.KeptSlots) -> TokenLayout:
  """The geometry of rows of which only some visual slots are left.

  They close ranks: every number 0 .. T + V' - 1 is again the place of one slot.
  Positions stay what they were, so that nothing moves for rotary embedding.
  """
  take = lambda x, index: jnp.take_along_axis(x, index, axis=1)
  t, count = rows.text.place.shape[1], rows.place.shape[1]
  segment, place, position = (
    take(x, kept.index) for x in (*rows.visual, rows.visual_position)
  )
  number = jnp.arange(place.shape[1])
  visual = attention.Slots(
    jnp.where(kept.valid, segment, 0),
    jnp.where(kept.valid, place, count + number),
  )  # the rest is padding, and last
  both = rows.text + visual
  order = jnp.argsort(both.place, axis=1)
  place = jnp.argsort(order, axis=1)
  text = attention.Slots(rows.text.segment, place[:, :t])
  positions = jnp.concatenate([rows.text_position, position], axis=1)
  merged = attention.Slots(
    take(both.segment, order),
    jnp.broadcast_to(jnp.arange(order.shape[1]), order.shape),
  )
  return TokenLayout(
    text,
    attention.Slots(visual.segment, place[:, t:]),
    merged,
    rows.text_position,
    position,
    take(positions, order),
    order,
    place,
    rows.prompt._replace(place=take(text.place, rows.end)),
    rows.end,
  )


@jax.custom_vjp
def permute(x, index, inverse):
  """x[b, index[b, s]]: a permutation, so its gradient is a gather too."""
  del inverse
  return jnp.take_along_axis(x, index[..., None], axis=1)


permute.defvjp(
  lambda x, index, inverse: (permute(x, index, inverse), (index, inverse)),
  lambda saved, g: (permute(g, saved[1], saved[0]), None, None),
)

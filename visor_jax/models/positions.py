"""Where tokens stand: slots, the token layout of a batch, rotary embedding.

A row holds text slots and visual slots in two arrays. A *place* is a slot's
number in the sequence that a row is, text and image together; a *position* is
counted from the start of the segment.

A position is one number. Where the model wants three of it (M-RoPE,
arXiv:2409.12191: time, row and column), a text token has the same thrice, which
one number says; an image stands at one time, with rows and columns counted on
from it, and what follows goes on behind its longer side.

Legend: B batch, T text, R prompts, V visual, S = T + V.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from visor_jax.models import params
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import sizes


class Slots(NamedTuple):
  """Where tokens stand: int32 [B, S] each; segment 0 is padding."""

  segment: jax.Array
  place: jax.Array


def join(first: Slots, second: Slots) -> Slots:
  """The slots of one array, then those of another: [B, S + S']."""
  return Slots(
    jnp.concatenate([first.segment, second.segment], axis=1),
    jnp.concatenate([first.place, second.place], axis=1),
  )


def visual_runs(visual: Slots) -> jax.Array:
  """Numbers runs of visual tokens with nothing between them.

  Segments are apart, and so are images with text between them, which must not
  hear of the later one.

  Args:
    visual: slots of the visual tokens, [B, V].

  Returns:
    int32 [B, V], rising from 1; 0 is padding.
  """
  segment, place = visual
  new_segment = segment[:, 1:] != segment[:, :-1]
  gap = place[:, 1:] != place[:, :-1] + 1
  number = jnp.cumsum(jnp.pad(new_segment | gap, ((0, 0), (1, 0))), axis=1) + 1
  return jnp.where(segment > 0, number, 0)


class TokenLayout(NamedTuple):
  """Where every token of a batch stands."""

  text: Slots
  visual: Slots
  merged: Slots  # text and visual slots in order of their places
  text_position: jax.Array  # int32 [B, T], counted from the segment's start
  visual_position: jax.Array  # int32 [B, V], or [B, V, 3]
  merged_position: jax.Array  # int32 [B, S], or [B, S, 3]
  order: jax.Array  # int32 [B, S]: which slot is at a place
  place: jax.Array  # int32 [B, S]: the inverse, the place of a slot
  prompt: Slots  # [B, R]: the text that ends a prompt
  prompt_end: jax.Array  # int32 [B, R]: which text slot that is
  raters: jax.Array | None = None  # bool [B, T]: see rating.rate


def token_layout(batch: batch_lib.Batch, axes: int = 1) -> TokenLayout:
  """Where the tokens of a batch stand, by their segments and places.

  Args:
    batch: of which `tile_grid` counts where positions have 3 numbers.
    axes: numbers of a position, 1 or 3.
  """
  text = Slots(batch.text_segment, batch.text_place)
  visual = Slots(batch.visual_segment, batch.visual_place)
  prompt = Slots(batch.prompt_segment, batch.prompt_place)
  both = join(text, visual)
  order = jnp.argsort(both.place, axis=1)
  segment = jnp.take_along_axis(both.segment, order, axis=1)
  place = jnp.broadcast_to(jnp.arange(order.shape[1]), order.shape)
  first = jnp.pad(segment[:, 1:] != segment[:, :-1], ((0, 0), (1, 0)))
  grid = None
  if axes > 1:
    grid = params.take_slots(_grid_of_slots(batch), order)
  time = place if grid is None else _times(grid)
  time = time - jax.lax.cummax(jnp.where(first, time, 0), axis=1)
  position = time
  if grid is not None:
    position = time[..., None] + jnp.pad(grid, ((0, 0), (0, 0), (1, 0)))
  ends_prompt = prompt.place[:, :, None] == text.place[:, None]
  return TokenLayout(
    text=text,
    visual=visual,
    merged=Slots(segment, place),
    text_position=params.take_slots(time, text.place),
    visual_position=params.take_slots(position, visual.place),
    merged_position=position,
    order=order,
    place=both.place,
    prompt=prompt,
    prompt_end=jnp.argmax(ends_prompt, axis=2),
  )


def _grid_of_slots(batch: batch_lib.Batch) -> jax.Array:
  """int32 [B, S, 2], rows and columns of text and visual slots; text has 0."""
  tile = batch.gather_index[..., :1]  # P = 1; padding is of no tile
  visual = jnp.take_along_axis(
    batch.tile_grid, tile, axis=1, mode='fill', fill_value=0
  )
  return jnp.pad(visual, ((0, 0), (batch.tokens.shape[1], 0), (0, 0)))


def _times(grid: jax.Array) -> jax.Array:
  """int32 [B, S], counted from the start of the row, of slots in order.

  What stands at 0, 0 begins an image or is text, and counts on from the longer
  side of what stood before it.
  """
  begins = (grid == 0).all(axis=2)
  ends = jnp.pad(begins[:, 1:], ((0, 0), (0, 1)), constant_values=True)
  steps = jnp.where(ends, grid.max(axis=2) + 1, 0)
  return jnp.cumsum(steps, axis=1) - steps


def join_positions(text: jax.Array, visual: jax.Array) -> jax.Array:
  """Positions of text slots, then of visual ones, as many numbers each."""
  if visual.ndim > text.ndim:
    text = jnp.broadcast_to(text[..., None], (*text.shape, visual.shape[-1]))
  return jnp.concatenate([text, visual], axis=1)


def keep_visual(
  before: TokenLayout, index: jax.Array, valid: jax.Array
) -> TokenLayout:
  """The layout of rows of which only some visual slots are left.

  They close ranks: every number 0 .. T + V' - 1 is again the place of one slot.
  Positions stay what they were, so that nothing moves for rotary embedding.

  Args:
    before: with all visual slots.
    index: int32 [B, V'], which visual slots stay, in order.
    valid: bool [B, V']; the others become padding.
  """
  t, count = before.text.place.shape[1], before.place.shape[1]
  take = jnp.take_along_axis
  visual_position = params.take_slots(before.visual_position, index)
  last = count + jnp.arange(index.shape[1])  # padding comes last
  visual = Slots(
    jnp.where(valid, take(before.visual.segment, index, axis=1), 0),
    jnp.where(valid, take(before.visual.place, index, axis=1), last),
  )
  both = join(before.text, visual)
  order = jnp.argsort(both.place, axis=1)
  place = jnp.argsort(order, axis=1)
  positions = join_positions(before.text_position, visual_position)
  prompt_place = take(place[:, :t], before.prompt_end, axis=1)
  return TokenLayout(
    text=Slots(before.text.segment, place[:, :t]),
    visual=Slots(visual.segment, place[:, t:]),
    merged=Slots(
      take(both.segment, order, axis=1),
      jnp.broadcast_to(jnp.arange(order.shape[1]), order.shape),
    ),
    text_position=before.text_position,
    visual_position=visual_position,
    merged_position=params.take_slots(positions, order),
    order=order,
    place=place,
    prompt=Slots(before.prompt.segment, prompt_place),
    prompt_end=before.prompt_end,
    raters=before.raters,
  )


@jax.custom_vjp
def permute(x: jax.Array, index: jax.Array, inverse: jax.Array) -> jax.Array:
  """x[b, index[b, s]] of [B, S, D]: a permutation.

  So its gradient is a gather too, by the `inverse` permutation.
  """
  del inverse
  return jnp.take_along_axis(x, index[..., None], axis=1)


permute.defvjp(
  lambda x, index, inverse: (permute(x, index, inverse), (index, inverse)),
  lambda saved, g: (permute(g, saved[1], saved[0]), None, None),
)


def rope(x: jax.Array, position: jax.Array, size: sizes.Language) -> jax.Array:
  """Rotary position embedding, halves rotated as in Qwen2.

  Args:
    x: [B, S, N, H].
    position: int32 [B, S], or [B, S, 3]; then each frequency turns by one of
      the three.
    size: base of the frequencies, and how many turn by which number.
  """
  half = x.shape[-1] // 2
  frequency = size.rope_theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
  if position.ndim == 2:
    position = position[..., None]
  else:
    axis = np.repeat(np.arange(size.axes), size.rope_sections)
    position = position[..., axis]
  return rotate(x, position[:, :, None].astype(jnp.float32) * frequency)


def rotate(x: jax.Array, angle: jax.Array) -> jax.Array:
  """[..., H] turned by [..., H / 2]: number i with number i + H / 2."""
  sin, cos = jnp.sin(angle), jnp.cos(angle)
  a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  rotated = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
  return rotated.astype(x.dtype)

"""What methods share: groups of visual slots, and keeping some of the slots.

Every method gives the slots that stay and, where it averages, for each slot the
one it is averaged into, its home; then one gather makes [B, V', D] of
[B, V, D], V' static.

A share is one of a *group*, rounded down: before the decoder an image, or
images with nothing between them (so that no text hears of a later image),
inside it a conversation. What a group keeps does not depend on what else is in
its row. Groups are int32 [B, V], rising along a row; 0 is padding, which is
last.

Legend: B batch, V visual slots, V' those that stay, D width, H head width, K
patches averaged into a slot, I tiles, P patches of a tile.
"""

import fractions
from typing import NamedTuple

import jax
import jax.numpy as jnp

from visor_jax.models import positions
from visor_jax.reduction import method

TINY = 1e-6  # of what is divided by


class KeptSlots(NamedTuple):
  """Visual slots that stay."""

  slot: jax.Array  # int32 [B, V'], in order; anything where not valid
  valid: jax.Array  # bool [B, V']


# Keeping slots ----------------------------------------------------------------


def keep(
  tokens: method.VisualTokens,
  kept_slots: KeptSlots,
  home: jax.Array | None = None,
) -> method.VisualTokens:
  """The tokens that stay, averaged with those at home in their slots.

  Args:
    tokens: V visual slots.
    kept_slots: the slots that stay.
    home: int32 [B, V], the slot that each is averaged into, V for none; None
      for no averages.
  """
  visual = tokens.visual
  if home is None:
    visual = jnp.take_along_axis(visual, kept_slots.slot[..., None], axis=1)
  else:
    visual = _averages(visual, kept_slots.slot, home)
  return method.VisualTokens(
    visual,
    positions.keep_visual(
      tokens.token_layout, kept_slots.slot, kept_slots.valid
    ),
  )


def average(
  tokens: method.VisualTokens,
  home: jax.Array,
  used: jax.Array,
  slots: int,
) -> method.VisualTokens:
  """Averages of tokens that have a home in common, in the home's slot.

  Args:
    tokens: V visual slots.
    home: int32 [B, V], a slot that is home to itself.
    used: bool [B, V], the slots that have a home.
    slots: V'.
  """
  kept_slots = compact(used & (home == slot_numbers(home)), slots)
  return keep(tokens, kept_slots, jnp.where(used, home, home.shape[1]))


def keep_highest(
  tokens: method.VisualTokens, rating: jax.Array, share: fractions.Fraction
) -> method.VisualTokens:
  """The share of each conversation's visual tokens that is rated highest.

  Args:
    tokens: V visual slots.
    rating: float32 [B, V].
    share: that stays.
  """
  return keep(tokens, highest(rating, of_conversations(tokens), share))


def highest(
  rating: jax.Array, group: jax.Array, share: fractions.Fraction
) -> KeptSlots:
  """The share of each group's visual slots that is rated highest."""
  stays = rank(group, rating) < share_of(count(group), share)
  return compact(stays & (group > 0), method.slots_for(rating.shape[1], share))


def compact(stays: jax.Array, slots: int) -> KeptSlots:
  """The slots that stay, bool [B, V], in order and without gaps."""
  number, v = slot_numbers(stays), stays.shape[1]
  ordered = jnp.argsort(jnp.where(stays, number, v + number), axis=1)
  valid = jnp.arange(slots) < stays.sum(axis=1, keepdims=True)
  return KeptSlots(ordered[:, :slots], valid)


def _averages(visual: jax.Array, slot: jax.Array, home: jax.Array) -> jax.Array:
  """[B, V, D] -> [B, V', D]: averages of what is at home in a slot."""
  b, v, _ = visual.shape
  batch = jnp.arange(b)[:, None]

  def total_at_home(x: jax.Array) -> jax.Array:
    totals = jnp.zeros((b, v + 1, x.shape[-1]), jnp.float32)
    totals = totals.at[batch, home].add(x.astype(jnp.float32))
    return jnp.take_along_axis(totals, slot[..., None], axis=1)

  counts = jnp.maximum(total_at_home(jnp.ones((b, v, 1))), 1)
  return (total_at_home(visual) / counts).astype(visual.dtype)


# Ratings ----------------------------------------------------------------------


def patch_rating(patches: method.Patches) -> tuple[jax.Array, jax.Array]:
  """What the vision tower says of visual slots; no gradient flows through it.

  Returns:
    float32 [B, V], the attention that a slot's patches get; [B, V, H], their
    keys. A newline has zeros.
  """
  if patches.attention is None or patches.keys is None:
    raise ValueError(
      'patches are not rated: a method that asks for it sets `rates_patches`, '
      'and the tower of the family must be able to'
    )
  attention = _at_slots(patches.attention[..., None], patches)[..., 0]
  keys = _at_slots(patches.keys, patches)
  return jax.lax.stop_gradient(attention), jax.lax.stop_gradient(keys)


def _at_slots(x: jax.Array, patches: method.Patches) -> jax.Array:
  """[B, I * P, H] of patches -> [B, V, H] of slots; a newline has zeros."""
  x = jnp.pad(x, ((0, 0), (0, 1), (0, 0)))
  weight = patches.weight.astype(x.dtype)
  weighted = (
    jnp.take_along_axis(x, patches.index[..., k, None], axis=1)
    * weight[..., k, None]
    for k in range(patches.index.shape[-1])
  )
  return sum(weighted, start=jnp.zeros((), x.dtype))


def normalised(x: jax.Array) -> jax.Array:
  """[..., D] in float32, of length 1."""
  x = x.astype(jnp.float32)
  length = jnp.linalg.norm(x, axis=-1, keepdims=True)
  return x / jnp.maximum(length, 1e-6)


def likeness(tokens: method.VisualTokens) -> tuple[jax.Array, jax.Array]:
  """`normalised` visual tokens, and how like one another they are.

  Returns:
    float32 [B, V, D]; cosines [B, V, V]; no gradient goes through either.
  """
  features = normalised(jax.lax.stop_gradient(tokens.visual))
  return features, jnp.einsum('BVD,BUD->BVU', features, features)


def relevance(tokens: method.VisualTokens, features: jax.Array) -> jax.Array:
  """How like the words of their first prompt visual tokens are.

  Args:
    tokens: before the decoder.
    features: `normalised` visual tokens.

  Returns:
    float32 [B, V], the mean of cosines.
  """
  if tokens.text is None:
    raise ValueError('there is no text between layers: see `Rate`')
  text, visual, prompt = (
    tokens.token_layout.text,
    tokens.token_layout.visual,
    tokens.token_layout.prompt,
  )
  words = normalised(jax.lax.stop_gradient(tokens.text))
  likeness = jnp.einsum('BVD,BTD->BVT', features, words)
  in_segment = prompt.segment[:, None] == visual.segment[:, :, None]
  farthest = jnp.iinfo(jnp.int32).max
  end = jnp.where(in_segment, prompt.place[:, None], farthest).min(axis=2)
  asks = text.segment[:, None] == visual.segment[:, :, None]
  asks &= text.place[:, None] <= end[:, :, None]
  total = jnp.where(asks, likeness, 0).sum(axis=2)
  return total / jnp.maximum(asks.sum(axis=2), 1)


def stretched(group: jax.Array, rating: jax.Array) -> jax.Array:
  """A rating, float32 [B, V], from a little above 0 to 1 in each group."""
  b, v = group.shape
  batch = jnp.arange(b)[:, None]
  empty = jnp.full((b, v + 1), jnp.inf)
  low = empty.at[batch, group].min(rating)[batch, group]
  high = -empty.at[batch, group].min(-rating)[batch, group]
  return (rating - low + TINY) / jnp.maximum(high - low, TINY)


# Groups -----------------------------------------------------------------------


def of_images(tokens: method.VisualTokens) -> jax.Array:
  """Images, or images with nothing between them."""
  return positions.visual_runs(tokens.token_layout.visual)


def of_conversations(tokens: method.VisualTokens) -> jax.Array:
  """All images of a conversation."""
  segment = tokens.token_layout.visual.segment
  apart = jnp.pad(segment[:, 1:] != segment[:, :-1], ((0, 0), (1, 0)))
  return jnp.where(segment > 0, jnp.cumsum(apart, axis=1) + 1, 0)


def slot_numbers(x: jax.Array) -> jax.Array:
  """The number of every slot in its row, int32 [B, V]."""
  return jnp.broadcast_to(jnp.arange(x.shape[1]), x.shape)


def total(group: jax.Array, marked: jax.Array) -> jax.Array:
  """For every slot, how many that are marked, bool [B, V], its group has."""
  b, v = group.shape
  totals = (
    jnp.zeros((b, v + 1), jnp.int32)
    .at[jnp.arange(b)[:, None], group]
    .add(marked.astype(jnp.int32))
  )
  return jnp.take_along_axis(totals, group, axis=1)


def number_of(group: jax.Array, marked: jax.Array) -> jax.Array:
  """For every slot, which slot of its group is marked, int32 [B, V]."""
  b, v = group.shape
  number = jnp.where(marked, slot_numbers(group), 0)
  numbers = (
    jnp.zeros((b, v + 1), jnp.int32)
    .at[jnp.arange(b)[:, None], group]
    .max(number)
  )
  return jnp.take_along_axis(numbers, group, axis=1)


def count(group: jax.Array) -> jax.Array:
  """For every slot, how many its group has."""
  return total(group, jnp.ones_like(group, bool))


def share_of(size: jax.Array, share: fractions.Fraction) -> jax.Array:
  """A share of the sizes of groups, rounded down."""
  return size * share.numerator // share.denominator


def order(group: jax.Array, marked: jax.Array) -> jax.Array:
  """How many that are marked stand before a slot in its group."""
  before = jnp.cumsum(marked, axis=1) - marked
  new = jnp.pad(
    group[:, 1:] != group[:, :-1], ((0, 0), (1, 0)), constant_values=True
  )
  start = jax.lax.cummax(jnp.where(new, slot_numbers(group), 0), axis=1)
  return before - jnp.take_along_axis(before, start, axis=1)


def rank(group: jax.Array, rating: jax.Array) -> jax.Array:
  """Of each slot in its group: 0 is rated highest; of equals the first.

  Here the slots of a group need not be neighbours.
  """
  b, v = group.shape
  batch = jnp.arange(b)[:, None]
  padding_last = jnp.where(group > 0, group, group.shape[1] + 1)
  *_, ranked = jax.lax.sort(
    (padding_last, -rating, slot_numbers(group)), dimension=1, num_keys=3
  )
  at = jnp.argsort(ranked, axis=1)
  begin = jnp.full((b, v + 1), v).at[batch, group].min(at)
  return at - begin[batch, group]

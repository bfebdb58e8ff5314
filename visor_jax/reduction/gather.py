"""Fewer visual tokens: which stay, and what becomes of the others.

Every method gives the slots that stay and, for each slot, the one it is
averaged into; then one gather makes [B, V', ...] of [B, V, ...], V' static. A
share is one of a *group*, rounded down: before the decoder an image, or images
with nothing between them (so that no text hears of a later image), inside it a
conversation. What a group keeps does not depend on what else is in its row.

Sources: VisionZip (arXiv 2412.04467), VisPruner (2412.01818), M3 (2405.17430),
FastV (2403.06764), PyramidDrop (2410.17247). SigLIP has no class token: here a
patch is rated by the attention that it gets of the patches of its tile, mean of
queries and heads, in the last layer of the tower that runs.

Legend: B batch, V visual slots, V' those that stay, D width, H head width.
"""

import fractions
from typing import NamedTuple

import jax
import jax.numpy as jnp

from visor_jax.models import cross_attention
from visor_jax.reduction import grammar as reductions

# Of 64 tokens VisionZip keeps, 10 are averages; VisPruner rates half of its
# tokens, and removes 8 of 576 at a time from the others.
CONTEXT = fractions.Fraction(10, 64)
ROUNDS = 72


class PatchRating(NamedTuple):
  """What the vision tower says of patches."""

  attention: jax.Array  # float32 [B, I * P], that a patch gets
  keys: jax.Array  # [B, I * P, H], of the last layer, averaged over heads


class KeptSlots(NamedTuple):
  """Visual slots that stay."""

  index: jax.Array  # int32 [B, V'], in order; whatever, where not valid
  valid: jax.Array  # bool [B, V']
  home: jax.Array | None = None  # int32 [B, V]: averaged into; V for nowhere


def reduce_visual(
  reduction: reductions.Reduction,
  visual,
  rated: PatchRating | None,
  slots,
  gather_index,
  gather_weight,
  tiles: int,
  grid,
):
  """Reduces what the decoder gets.

  Args:
    reduction: of an early method.
    visual: [B, V, D].
    rated: of the vision tower, where the method asks it.
    slots: attention.Slots of the visual tokens.
    gather_index: int32 [B, V, K], see batch.Batch.
    gather_weight: float32 [B, V, K].
    tiles: of a row.
    grid: rows and columns of patches in a tile.

  Returns:
    [B, V', D], and Kept.
  """
  group = cross_attention.stretches(slots)
  count = reduction.slots(visual.shape[1], tiles, grid)
  if reduction.method == 'pack':
    kept = _pack(group, reduction.window, count)
  elif reduction.method == 'm3':
    kept = _pool(group, gather_index, reduction.window, tiles, grid, count)
  else:
    of = lambda x: jax.lax.stop_gradient(
      _at_slots(x, gather_index, gather_weight)
    )
    attention = of(rated.attention[..., None])[..., 0]
    if reduction.method == 'visionzip':
      kept = _visionzip(group, attention, of(rated.keys), reduction.keep, count)
    else:
      kept = _vispruner(
        group, attention, jax.lax.stop_gradient(visual), reduction.keep, count
      )
  return gather(visual, kept), kept


def highest(rating, segment, keep: fractions.Fraction) -> KeptSlots:
  """The share of each segment's visual slots that is rated highest.

  Args:
    rating: float32 [B, V].
    segment: int32 [B, V]; 0 is padding.
    keep: share.
  """
  apart = jnp.pad(segment[:, 1:] != segment[:, :-1], ((0, 0), (1, 0)))
  group = jnp.where(segment > 0, jnp.cumsum(apart, axis=1) + 1, 0)
  lead = _rank(group, rating) < _share(_count(group), keep)
  return _compact(lead & (group > 0), reductions.share(rating.shape[1], keep))


def gather(visual, kept: KeptSlots):
  """[B, V, D] -> [B, V', D]: averages of what is at home in a slot."""
  if kept.home is None:
    return jnp.take_along_axis(visual, kept.index[..., None], axis=1)
  b, v, _ = visual.shape
  homes = lambda x: (
    jnp.zeros((b, v + 1, x.shape[-1]), jnp.float32)
    .at[jnp.arange(b)[:, None], kept.home]
    .add(x.astype(jnp.float32))
  )
  at = lambda x: jnp.take_along_axis(x, kept.index[..., None], axis=1)
  total, count = homes(visual), homes(jnp.ones((b, v, 1)))
  return (at(total) / jnp.maximum(at(count), 1)).astype(visual.dtype)


def _pack(group, window, count):
  """Neighbours, `window` at a time; what is left over joins the last."""
  place = _order(group, group > 0)
  most = jnp.maximum(_count(group) // window, 1)
  pack = jnp.minimum(place // window, most - 1)
  return _at_home(_number(group) - place + window * pack, group > 0, count)


def _pool(group, gather_index, window, tiles, grid, count):
  """Slots whose first patch lies in the same window of the same tile.

  Pooling features would not do: slots are what is left of tiles once padding is
  cut off. A newline has no patch and is dropped.
  """
  rows, columns = grid
  tile, patch = jnp.divmod(gather_index[..., 0], rows * columns)
  row, column = jnp.divmod(patch, columns)
  wide = -(-columns // window)
  cells = -(-rows // window) * wide
  there = (group > 0) & (tile < tiles)
  cell = tile * cells + row // window * wide + column // window
  cell = jnp.where(there, cell, tiles * cells)
  b, v = group.shape
  first = (
    jnp.full((b, tiles * cells + 1), v)
    .at[jnp.arange(b)[:, None], cell]
    .min(_number(group))
  )
  return _at_home(jnp.take_along_axis(first, cell, axis=1), there, count)


def _visionzip(group, attention, keys, keep, count):
  """Dominant tokens, and averages of the others around evenly spaced ones."""
  number, there = _number(group), group > 0
  size = _count(group)
  share = _share(size, keep)
  # Rounded, so that a few tokens have an average among them, too.
  context = (2 * share * CONTEXT.numerator + CONTEXT.denominator) // (
    2 * CONTEXT.denominator
  )
  dominant = there & (_rank(group, attention) < share - context)
  rest = there & ~dominant
  place = _order(group, rest)
  step = jnp.maximum((size - share + context) // jnp.maximum(context, 1), 1)
  target = rest & (place % step == 0) & (place // step < context)
  kept = _compact(dominant | target, count)
  at = lambda x: jnp.take_along_axis(x, kept.index, axis=1)
  keys = keys.astype(jnp.float32)
  keys = keys / jnp.maximum(jnp.linalg.norm(keys, axis=-1, keepdims=True), 1e-6)
  theirs = jnp.take_along_axis(keys, kept.index[..., None], axis=1)
  fits = (at(target) & kept.valid)[:, None] & (
    group[:, :, None] == at(group)[:, None]
  )
  alike = jnp.where(fits, jnp.einsum('BVH,BUH->BVU', keys, theirs), -jnp.inf)
  nearest = jnp.take_along_axis(kept.index, jnp.argmax(alike, axis=2), axis=1)
  home = jnp.where(rest & fits.any(axis=2), nearest, number.shape[1])
  return kept._replace(home=jnp.where(dominant | target, number, home))


def _vispruner(group, attention, visual, keep, count):
  """Important tokens, and different ones of the others.

  As long as there are too many of these, every other one is compared with those
  between, and the few that are most alike to one of them go.
  """
  size, there = _count(group), group > 0
  share = _share(size, keep)
  important = there & (_rank(group, attention) < share // 2)
  visual = visual.astype(jnp.float32)
  visual = visual / jnp.maximum(
    jnp.linalg.norm(visual, axis=-1, keepdims=True), 1e-6
  )
  alike = jnp.einsum('BVD,BUD->BVU', visual, visual)
  same = group[:, :, None] == group[:, None]
  at_once = -(-size // ROUNDS)

  def thin(_, left):
    odd = _order(group, left) % 2 == 1
    nearest = jnp.max(
      jnp.where(same & (left & odd)[:, None], alike, -jnp.inf), axis=2
    )
    go = jnp.minimum(at_once, _sum(group, left) - (share - share // 2))
    first = left & ~odd
    rank = _rank(group, jnp.where(first, nearest, -jnp.inf))
    return left & ~(first & (rank < go))

  # When few are left, no more than half of them go at once.
  rounds = min(group.shape[1], ROUNDS + 16)
  left = jax.lax.fori_loop(0, rounds, thin, there & ~important)
  return _compact((important | left) & (share > 0), count)


def _at_slots(x, gather_index, gather_weight):
  """[B, I * P, H] of patches -> [B, V, H] of slots; a newline has zeros."""
  x = jnp.pad(x, ((0, 0), (0, 1), (0, 0)))
  return sum(
    jnp.take_along_axis(x, gather_index[..., k, None], axis=1)
    * gather_weight[..., k, None].astype(x.dtype)
    for k in range(gather_index.shape[-1])
  )


def _at_home(home, there, count):
  """Kept of slots that are at home in one of them."""
  kept = _compact(there & (home == _number(home)), count)
  return kept._replace(home=jnp.where(there, home, home.shape[1]))


def _compact(lead, count):
  """Kept of slots that stay, in order."""
  number, v = _number(lead), lead.shape[1]
  index = jnp.argsort(jnp.where(lead, number, v + number), axis=1)[:, :count]
  return KeptSlots(index, jnp.arange(count) < lead.sum(axis=1, keepdims=True))


# In groups: int32 [B, V], rising along a row; 0 is padding, which is last.


def _number(x):
  """The number of every slot in its row."""
  return jnp.broadcast_to(jnp.arange(x.shape[1]), x.shape)


def _sum(group, some):
  """For every slot, how many of `some`, bool [B, V], are in its group."""
  b, v = group.shape
  total = (
    jnp.zeros((b, v + 1), jnp.int32)
    .at[jnp.arange(b)[:, None], group]
    .add(some.astype(jnp.int32))
  )
  return jnp.take_along_axis(total, group, axis=1)


def _count(group):
  """For every slot, how many there are in its group."""
  return _sum(group, jnp.ones_like(group, bool))


def _share(count, keep):
  return count * keep.numerator // keep.denominator


def _order(group, some):
  """How many of `some` stand before a slot in its group."""
  before = jnp.cumsum(some, axis=1) - some
  new = jnp.pad(
    group[:, 1:] != group[:, :-1], ((0, 0), (1, 0)), constant_values=True
  )
  start = jax.lax.cummax(jnp.where(new, _number(group), 0), axis=1)
  return before - jnp.take_along_axis(before, start, axis=1)


def _rank(group, rating):
  """Of each slot in its group: 0 is rated highest; of equals the first."""
  number = _number(group)
  last = jnp.where(group > 0, group, group.shape[1] + 1)
  *_, ranked = jax.lax.sort((last, -rating, number), dimension=1, num_keys=3)
  # Groups are neighbours in order, so as a whole they stay where they are.
  return (
    jnp.argsort(ranked, axis=1)
    - number
    + _order(group, jnp.ones_like(group, bool))
  )

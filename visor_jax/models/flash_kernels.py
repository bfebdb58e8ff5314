"""Kernels of flash attention over ranges of keys (Pallas, Triton).

Each works on one block: of queries, for what they read and for their gradient;
of keys, for theirs and the values'. See attention_flash.py, which calls them.

Legend: Q queries, S keys, G heads that share a key head, H head width; c
queries of a block, s its keys.
"""

from collections.abc import Callable
import functools
import math
from typing import Any
from typing import TypeVar

import jax
from jax.experimental import pallas as pl
import jax.numpy as jnp

from visor_jax.models import flash_blocks as blocks
from visor_jax.models import visibility

State = TypeVar('State')
# Below every score, and finite: a query that sees nothing sums up zeros.
_FLOOR = -1e20
_LOG2_E = math.log2(math.e)


def read(
  query: Any,
  key: Any,
  value: Any,
  start: Any,
  end: Any,
  context: Any,
  log_total: Any,
  *,
  work: blocks.Work,
) -> None:
  """What a block of queries of a head reads.

  Args:
    query: [c, H].
    key: [S, H].
    value: [S, H].
    start: of the range of keys that a query sees, [c].
    end: of the range, [c].
    context: [c, H], written.
    log_total: logarithm to base 2 of the softmax's total, [c], written.
    work: of the kernel.
  """
  tile = work.tile
  mine = blocks.queries(pl.program_id(0), work, local=True)
  q = blocks.load(query, mine)
  ranges = visibility.Ranges(start[...], end[...])

  def step(masked: bool, number: jax.Array, state: tuple) -> tuple:
    sums, top, total = state
    rows = blocks.keys(number, work)
    scores = _LOG2_E * work.scale * blocks.scores(q, blocks.load(key, rows))
    if masked:
      scores = jnp.where(_seen(ranges, number, tile), scores, -jnp.inf)
    new_top = jnp.maximum(top, scores.max(axis=1))
    weights = jnp.exp2(scores - new_top[:, None])
    fade = jnp.exp2(top - new_top)
    sums = blocks.add(
      blocks.scaled(sums, fade[:, None]),
      weights,
      blocks.load(value, rows),
    )
    return sums, new_top, total * fade + weights.sum(axis=1)

  row = jnp.zeros(tile.queries, jnp.float32)
  state = blocks.zeros(q), row + _FLOOR, row
  sums, top, total = _through_keys(step, state, ranges, tile.keys)
  total = jnp.where(total > 0, total, 1)
  blocks.store(context, mine, blocks.scaled(sums, 1 / total[:, None]))
  log_total[...] = top + jnp.log2(total)


def _seen(
  ranges: visibility.Ranges, number: jax.Array, tile: blocks.Tile
) -> jax.Array:
  """bool [c, s]: which keys of a block the queries see."""
  keys = (number * tile.keys + jnp.arange(tile.keys))[None, :]
  return (ranges.start[:, None] <= keys) & (keys < ranges.end[:, None])


def _through_keys(
  step: Callable[[bool, jax.Array, State], State],
  state: State,
  ranges: visibility.Ranges,
  keys: int,
) -> State:
  """Visits blocks of keys that a block of queries sees.

  Args:
    step: (whether some query does not see all of it, number of a block,
      state) -> state.
    state: to begin with.
    ranges: of the queries, [c].
    keys: of a block.
  """
  first = ranges.start.min() // keys
  stop = jnp.maximum(pl.cdiv(ranges.end.max(), keys), first)
  first_full = jnp.clip(pl.cdiv(ranges.start.max(), keys), first, stop)
  stop_full = jnp.clip(ranges.end.min() // keys, first_full, stop)
  return _visit(step, state, (first, first_full, stop_full, stop))


def _visit(
  step: Callable[[bool, jax.Array, State], State],
  state: State,
  numbers: tuple[jax.Array, ...],
) -> State:
  """Blocks first .. stop, of which those first_full .. stop_full are full."""
  first, first_full, stop_full, stop = numbers
  masked, full = (functools.partial(step, masked) for masked in (True, False))
  state = jax.lax.fori_loop(first, first_full, masked, state)
  state = jax.lax.fori_loop(first_full, stop_full, full, state)
  return jax.lax.fori_loop(stop_full, stop, masked, state)


def of_queries(
  query: Any,
  key: Any,
  value: Any,
  gradient: Any,
  log_total: Any,
  dot: Any,
  start: Any,
  end: Any,
  of_query: Any,
  *,
  work: blocks.Work,
) -> None:
  """The gradient of a block of queries of a head.

  Args:
    query: [c, H].
    key: [S, H].
    value: [S, H].
    gradient: of the context, [c, H].
    log_total: as `read` leaves it, [c].
    dot: context x gradient, [c].
    start: as of `read`.
    end: as of `read`.
    of_query: [c, H], written.
    work: of the kernel.
  """
  tile = work.tile
  mine = blocks.queries(pl.program_id(0), work, local=True)
  q, g = blocks.load(query, mine), blocks.load(gradient, mine)
  log_total, dot = log_total[...], dot[...]
  ranges = visibility.Ranges(start[...], end[...])

  def step(masked: bool, number: jax.Array, sums: blocks.Parts) -> blocks.Parts:
    rows = blocks.keys(number, work)
    k = blocks.load(key, rows)
    scores = _LOG2_E * work.scale * blocks.scores(q, k)
    weights = jnp.exp2(scores - log_total[:, None])
    if masked:
      weights = jnp.where(_seen(ranges, number, tile), weights, 0)
    of_scores = weights * (
      blocks.scores(g, blocks.load(value, rows)) - dot[:, None]
    )
    return blocks.add(sums, of_scores, k)

  sums = _through_keys(step, blocks.zeros(q), ranges, tile.keys)
  blocks.store(of_query, mine, blocks.scaled(sums, work.scale))


def of_keys(
  query: Any,
  key: Any,
  value: Any,
  gradient: Any,
  log_total: Any,
  dot: Any,
  start: Any,
  end: Any,
  seeing: Any,
  of_key: Any,
  of_value: Any,
  *,
  work: blocks.Work,
) -> None:
  """The gradients of a block of keys and values, of all heads they serve.

  Args:
    query: [Q, G, H].
    key: [s, H].
    value: [s, H].
    gradient: of the context, [Q, G, H].
    log_total: as `read` leaves it, [G, Q].
    dot: context x gradient, [G, Q].
    start: as of `read`, [Q].
    end: as of `read`, [Q].
    seeing: blocks of queries that see the keys: the first; the first that is
      full, its queries see all of them; the first behind those; behind all.
    of_key: [s, H], written.
    of_value: [s, H], written.
    work: of the kernel.
  """
  tile = work.tile
  mine = blocks.keys(pl.program_id(0), work, local=True)
  k, v = blocks.load(key, mine), blocks.load(value, mine)
  numbers = (pl.program_id(0) * tile.keys + jnp.arange(tile.keys))[:, None]
  seeing = tuple(seeing[i] for i in range(4))

  def of_head(head: jax.Array, state: tuple) -> tuple:
    def step(masked: bool, number: jax.Array, state: tuple) -> tuple:
      keys_sums, values_sums = state
      rows = blocks.queries(number, work)
      at = rows.at
      q, g = (
        blocks.load(query, rows, head),
        blocks.load(gradient, rows, head),
      )
      scores = _LOG2_E * work.scale * blocks.scores(k, q)
      weights = jnp.exp2(scores - log_total[head, at][None, :])
      if masked:
        seen = (start[at][None, :] <= numbers) & (numbers < end[at][None, :])
        weights = jnp.where(seen, weights, 0)
      of_scores = weights * (blocks.scores(v, g) - dot[head, at][None, :])
      return blocks.add(keys_sums, of_scores, q), blocks.add(
        values_sums, weights, g
      )

    return _visit(step, state, seeing)

  state = blocks.zeros(k), blocks.zeros(v)
  keys_sums, values_sums = jax.lax.fori_loop(0, query.shape[1], of_head, state)
  blocks.store(of_key, mine, blocks.scaled(keys_sums, work.scale))
  blocks.store(of_value, mine, values_sums)

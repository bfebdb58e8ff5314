"""Flash attention over ranges of keys, for GPUs (Pallas, Triton).

FlashAttention (arXiv:2205.14135) in which every query sees one range of keys,
`start <= key < end`. Segments, causality, text that sees the image before it
and padding all are ranges; blocks outside are not visited, forward or
backward, and only blocks at an edge are masked.

Legend: B batch, Q queries, S keys, N heads, K key heads, G = N / K, H head
width; c queries of a block, s its keys.
"""

from collections.abc import Callable
import dataclasses
import functools
import math
from typing import Any
from typing import NamedTuple
from typing import TypeVar

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
import jax.numpy as jnp

from visor_jax.models import visibility

State = TypeVar('State')
_LOG2_E = math.log2(math.e)
# Below every score, and finite: a query that sees nothing sums up zeros.
_FLOOR = -1e20
# Heads are padded to a multiple of this, the least that a product takes.
_STEP = 16


@dataclasses.dataclass(frozen=True)
class Tile:
  """How a kernel cuts its work.

  Attributes:
    queries: of a block.
    keys: of a block.
    warps: that work on one.
    stages: of the pipeline that loads blocks.
  """

  queries: int
  keys: int
  warps: int
  stages: int


@dataclasses.dataclass(frozen=True)
class Tiles:
  """Of the forward kernel, of that of queries' gradients, and of keys'."""

  forward: Tile
  of_queries: Tile
  of_keys: Tile


# Head width at most: tiles, in 16-bit numbers.
TILES = {
  64: Tiles(Tile(64, 64, 4, 3), Tile(128, 32, 4, 3), Tile(128, 64, 4, 2)),
  80: Tiles(Tile(128, 64, 4, 3), Tile(128, 64, 4, 2), Tile(64, 64, 4, 3)),
  128: Tiles(Tile(128, 128, 8, 2), Tile(64, 64, 4, 2), Tile(64, 64, 4, 2)),
}


def fits(head_width: int) -> bool:
  """Whether heads are narrow enough."""
  return head_width <= max(TILES)


def attend(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  ranges: visibility.Ranges,
  tiles: Tiles | None = None,
  interpret: bool = False,
) -> jax.Array:
  """Attention of queries over their ranges of keys.

  Args:
    query: [B, Q, N, H], not scaled.
    key: [B, S, K, H]; K divides N.
    value: [B, S, K, H].
    ranges: of keys that queries see; of none, the result is zero.
    tiles: how work is cut; None for those of the head width.
    interpret: run the kernels where there is no GPU.

  Returns:
    [B, Q, N, H] in the dtype of `query`.

  Raises:
    ValueError: heads are wider than any of TILES.
  """
  b, q, n, h = query.shape
  k = key.shape[2]
  if tiles is None:
    if not fits(h):
      raise ValueError(f'heads of {h} numbers; flash takes {max(TILES)}')
    tiles = TILES[min(width for width in TILES if h <= width)]
  every = (tiles.forward, tiles.of_queries, tiles.of_keys)
  pad_queries = -q % math.lcm(*(tile.queries for tile in every))
  pad_keys = -key.shape[1] % math.lcm(*(tile.keys for tile in every))
  pad_width = -h % _STEP

  def padded(x: jax.Array, rows: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (0, rows), (0, 0), (0, pad_width)))

  ranges = visibility.Ranges(
    *(jnp.pad(x, ((0, 0), (0, pad_queries)), mode='edge') for x in ranges)
  )
  settings = _Settings(tiles, h**-0.5, interpret)
  context = _attend(
    padded(query, pad_queries).reshape(b, -1, k, n // k, h + pad_width),
    padded(key, pad_keys),
    padded(value, pad_keys),
    ranges,
    settings,
  )
  return context.reshape(b, q + pad_queries, n, -1)[:, :q, :, :h]


@dataclasses.dataclass(frozen=True)
class _Settings:
  tiles: Tiles
  scale: float  # of scores
  interpret: bool


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attend(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  ranges: visibility.Ranges,
  settings: _Settings,
) -> jax.Array:
  """[B, Q, K, G, H], of queries of that shape."""
  return _forward(query, key, value, ranges, settings)[0]


class _Specs(NamedTuple):
  """The part of an array that a program of a kernel sees."""

  queries: pl.BlockSpec  # [c or Q, H]
  keys: pl.BlockSpec  # [s or S, H]
  rows: pl.BlockSpec  # [c or Q] of a head
  ranges: pl.BlockSpec  # [c or Q]


def _by_queries(q_shape: tuple[int, ...], keys: int, block: int) -> Any:
  """Grid and specs of a kernel that goes through keys for each block."""
  b, q, k, g, h = q_shape
  queries = pl.BlockSpec(
    (None, block, None, None, h), lambda i, n, b: (b, i, n // g, n % g, 0)
  )
  return (q // block, k * g, b), _Specs(
    queries,
    pl.BlockSpec((None, keys, None, h), lambda i, n, b: (b, 0, n // g, 0)),
    pl.BlockSpec((None, None, block), lambda i, n, b: (b, n, i)),
    pl.BlockSpec((None, block), lambda i, n, b: (b, i)),
  )


def _call(
  kernel: Callable[..., None], tile: Tile, settings: _Settings, **kwargs: Any
) -> Callable[..., Any]:
  return pl.pallas_call(
    functools.partial(kernel, tile=tile, scale=settings.scale),
    compiler_params=plgpu.CompilerParams(
      num_warps=tile.warps, num_stages=tile.stages
    ),
    interpret=settings.interpret,
    **kwargs,
  )


def _forward(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  ranges: visibility.Ranges,
  settings: _Settings,
) -> tuple[jax.Array, tuple]:
  """The context, and what `_backward` wants saved."""
  b, q, k, g, _ = query.shape
  tile = settings.tiles.forward
  grid, specs = _by_queries(query.shape, key.shape[1], tile.queries)
  context, log_total = _call(
    _forward_kernel,
    tile,
    settings,
    grid=grid,
    in_specs=[
      specs.queries,
      specs.keys,
      specs.keys,
      specs.ranges,
      specs.ranges,
    ],
    out_specs=[specs.queries, specs.rows],
    out_shape=[
      jax.ShapeDtypeStruct(query.shape, query.dtype),
      jax.ShapeDtypeStruct((b, k * g, q), jnp.float32),
    ],
    name='flash_attention',
  )(query, key, value, *ranges)
  return context, (query, key, value, ranges, context, log_total)


# A head's numbers as products want them, in parts of powers of two: 72, padded
# to 80, is 64 and 16.
_Parts = tuple[jax.Array, ...]


def _spans(width: int) -> list[Any]:
  """Where the parts of a width begin, and how long they are."""
  spans, start = [], 0
  while start < width:
    size = 2 ** int(math.log2(width - start))
    spans.append(pl.ds(start, size))
    start += size
  return spans


def _load(array: Any, *at: Any) -> _Parts:
  """Rows of an array, [.., H]."""
  at = at or (slice(None),)
  return tuple(array[*at, span] for span in _spans(array.shape[-1]))


def _store(array: Any, parts: _Parts) -> None:
  for span, part in zip(_spans(array.shape[-1]), parts):
    array[:, span] = part.astype(array.dtype)


def _zeros(parts: _Parts) -> _Parts:
  return tuple(jnp.zeros(x.shape, jnp.float32) for x in parts)


def _scores(a: _Parts, b: _Parts) -> jax.Array:
  """float32 [rows of a, rows of b]: all numbers of heads multiplied."""
  return functools.reduce(
    jnp.add, (plgpu.dot(x, y.T) for x, y in zip(a, b, strict=True))
  )


def _add(sums: _Parts, weights: jax.Array, rows: _Parts) -> _Parts:
  """sums + weights x rows, in float32."""
  return tuple(
    x + plgpu.dot(weights.astype(y.dtype), y) for x, y in zip(sums, rows)
  )


def _forward_kernel(
  query: Any,
  key: Any,
  value: Any,
  start: Any,
  end: Any,
  context: Any,
  log_total: Any,
  *,
  tile: Tile,
  scale: float,
) -> None:
  """A block of queries of a head, through its keys."""
  q = _load(query)
  ranges = visibility.Ranges(start[...], end[...])

  def read(masked: bool, block: jax.Array, state: tuple) -> tuple:
    sums, top, total = state
    at = pl.ds(block * tile.keys, tile.keys)
    scores = _scores(q, _load(key, at)) * (scale * _LOG2_E)
    if masked:
      scores = jnp.where(_seen(ranges, block, tile), scores, -jnp.inf)
    new_top = jnp.maximum(top, scores.max(axis=1))
    weights = jnp.exp2(scores - new_top[:, None])
    fade = jnp.exp2(top - new_top)
    sums = tuple(x * fade[:, None] for x in sums)
    return (
      _add(sums, weights, _load(value, at)),
      new_top,
      total * fade + weights.sum(axis=1),
    )

  row = jnp.zeros(tile.queries, jnp.float32)
  state = _zeros(q), row + _FLOOR, row
  sums, top, total = _through_keys(read, state, ranges, tile.keys)
  total = jnp.where(total > 0, total, 1)
  _store(context, tuple(x / total[:, None] for x in sums))
  log_total[...] = top + jnp.log2(total)


def _seen(ranges: visibility.Ranges, block: jax.Array, tile: Tile) -> jax.Array:
  """bool [c, s]: which keys of a block the queries see."""
  number = (block * tile.keys + jnp.arange(tile.keys))[None, :]
  return (ranges.start[:, None] <= number) & (number < ranges.end[:, None])


def _through_keys(
  step: Callable[[bool, jax.Array, State], State],
  state: State,
  ranges: visibility.Ranges,
  keys: int,
) -> State:
  """Visits blocks of keys that a block of queries sees.

  Args:
    step: (whether some query does not see all of it, block, state) -> state.
    state: to begin with.
    ranges: of the queries, [c].
    keys: of a block.
  """
  first = ranges.start.min() // keys
  stop = jnp.maximum(pl.cdiv(ranges.end.max(), keys), first)
  first_full = jnp.clip(pl.cdiv(ranges.start.max(), keys), first, stop)
  stop_full = jnp.clip(ranges.end.min() // keys, first_full, stop)
  masked, full = (functools.partial(step, masked) for masked in (True, False))
  state = jax.lax.fori_loop(first, first_full, masked, state)
  state = jax.lax.fori_loop(first_full, stop_full, full, state)
  return jax.lax.fori_loop(stop_full, stop, masked, state)


def _backward(
  settings: _Settings, saved: tuple, gradient: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
  """The gradients of queries, keys and values, from that of the context."""
  query, key, value, ranges, context, log_total = saved
  b, q, k, g, h = query.shape
  dot = jnp.sum(
    gradient.astype(jnp.float32) * context.astype(jnp.float32), axis=-1
  )
  dot = dot.transpose(0, 2, 3, 1).reshape(b, k * g, q)
  inputs = query, key, value, gradient, log_total, dot, *ranges

  tile = settings.tiles.of_queries
  grid, specs = _by_queries(query.shape, key.shape[1], tile.queries)
  of_query = _call(
    _queries_kernel,
    tile,
    settings,
    grid=grid,
    in_specs=[
      specs.queries,
      specs.keys,
      specs.keys,
      specs.queries,
      specs.rows,
      specs.rows,
      specs.ranges,
      specs.ranges,
    ],
    out_specs=specs.queries,
    out_shape=jax.ShapeDtypeStruct(query.shape, query.dtype),
    name='flash_attention_queries_gradient',
  )(*inputs)

  tile = settings.tiles.of_keys
  count = key.shape[1] // tile.keys
  queries = pl.BlockSpec((None, q, None, g, h), lambda j, k, b: (b, 0, k, 0, 0))
  keys = pl.BlockSpec((None, tile.keys, None, h), lambda j, k, b: (b, j, k, 0))
  rows = pl.BlockSpec((None, g, q), lambda j, k, b: (b, k, 0))
  range_ = pl.BlockSpec((None, q), lambda j, k, b: (b, 0))
  block = pl.BlockSpec((None, None, 4), lambda j, k, b: (b, j, 0))
  of_key, of_value = _call(
    _keys_kernel,
    tile,
    settings,
    grid=(count, k, b),
    in_specs=[queries, keys, keys, queries, rows, rows, range_, range_, block],
    out_specs=[keys, keys],
    out_shape=[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (key, value)],
    name='flash_attention_keys_gradient',
  )(*inputs, _query_blocks(ranges, count, tile))
  return of_query, of_key, of_value, None


_attend.defvjp(_forward, _backward)


def _queries_kernel(
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
  tile: Tile,
  scale: float,
) -> None:
  """The gradient of a block of queries of a head."""
  q, g = _load(query), _load(gradient)
  log_total, dot = log_total[...], dot[...]
  ranges = visibility.Ranges(start[...], end[...])

  def add(masked: bool, block: jax.Array, sums: _Parts) -> _Parts:
    at = pl.ds(block * tile.keys, tile.keys)
    k = _load(key, at)
    scores = _scores(q, k) * (scale * _LOG2_E)
    weights = jnp.exp2(scores - log_total[:, None])
    if masked:
      weights = jnp.where(_seen(ranges, block, tile), weights, 0)
    of_scores = weights * (_scores(g, _load(value, at)) - dot[:, None])
    return _add(sums, of_scores, k)

  sums = _through_keys(add, _zeros(q), ranges, tile.keys)
  _store(of_query, tuple(x * scale for x in sums))


def _keys_kernel(
  query: Any,
  key: Any,
  value: Any,
  gradient: Any,
  log_total: Any,
  dot: Any,
  start: Any,
  end: Any,
  blocks: Any,
  of_key: Any,
  of_value: Any,
  *,
  tile: Tile,
  scale: float,
) -> None:
  """The gradients of a block of keys and values, of all heads they serve."""
  k, v = _load(key), _load(value)
  number = (pl.program_id(0) * tile.keys + jnp.arange(tile.keys))[:, None]
  first, first_full, stop_full, stop = (blocks[i] for i in range(4))

  def of_head(head: jax.Array, state: tuple) -> tuple:
    def add(masked: bool, block: jax.Array, state: tuple) -> tuple:
      keys_sums, values_sums = state
      at = pl.ds(block * tile.queries, tile.queries)
      q, g = _load(query, at, head), _load(gradient, at, head)
      scores = _scores(k, q) * (scale * _LOG2_E)
      weights = jnp.exp2(scores - log_total[head, at][None, :])
      if masked:
        seen = (start[at][None, :] <= number) & (number < end[at][None, :])
        weights = jnp.where(seen, weights, 0)
      of_scores = weights * (_scores(v, g) - dot[head, at][None, :])
      return _add(keys_sums, of_scores, q), _add(values_sums, weights, g)

    masked, full = (functools.partial(add, masked) for masked in (True, False))
    state = jax.lax.fori_loop(first, first_full, masked, state)
    state = jax.lax.fori_loop(first_full, stop_full, full, state)
    return jax.lax.fori_loop(stop_full, stop, masked, state)

  state = _zeros(k), _zeros(v)
  keys_sums, values_sums = jax.lax.fori_loop(0, query.shape[1], of_head, state)
  _store(of_key, tuple(x * scale for x in keys_sums))
  _store(of_value, values_sums)


def _query_blocks(
  ranges: visibility.Ranges, count: int, tile: Tile
) -> jax.Array:
  """Which blocks of queries see blocks of keys.

  Args:
    ranges: of the queries, [B, Q].
    count: blocks of keys.
    tile: their size.

  Returns:
    int32 [B, blocks of keys, 4]: the first block of queries that sees some
    of the keys; the first of those whose queries all see all; the first behind
    these; the first that sees none of the keys again.
  """
  start, end = (x.reshape(len(x), 1, -1, tile.queries) for x in ranges)
  low = (jnp.arange(count) * tile.keys)[None, :, None]
  high = low + tile.keys
  some = (start.min(-1) < high) & (end.max(-1) > low)
  full = (start.max(-1) <= low) & (end.min(-1) >= high)
  number = jnp.arange(some.shape[-1])
  last = jnp.max(jnp.where(some, number + 1, 0), axis=-1)
  first = jnp.minimum(jnp.min(jnp.where(some, number, number.size), -1), last)
  first_full = jnp.min(jnp.where(full, number, last[..., None]), axis=-1)
  broken = ~full & (number >= first_full[..., None])
  stop_full = jnp.min(jnp.where(broken, number, number.size), axis=-1)
  first_full = jnp.clip(first_full, first, last)
  stop_full = jnp.clip(stop_full, first_full, last)
  return jnp.stack([first, first_full, stop_full, last], axis=-1).astype(
    jnp.int32
  )

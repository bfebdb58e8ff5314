"""Flash attention over ranges of keys, for GPUs.

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

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
import jax.numpy as jnp

from visor_jax.models import flash_blocks as blocks_lib
from visor_jax.models import flash_kernels
from visor_jax.models import visibility

Tile = blocks_lib.Tile


@dataclasses.dataclass(frozen=True)
class Tiles:
  """Of the forward kernel, of that of queries' gradients, and of keys'."""

  forward: Tile
  of_queries: Tile
  of_keys: Tile

  @property
  def queries(self) -> int:
    """A number that all blocks of queries divide."""
    every = self.forward, self.of_queries, self.of_keys
    return math.lcm(*(tile.queries for tile in every))


# Head width at most: tiles, the fastest on an H100 of those tried.
TILES = {
  64: Tiles(Tile(64, 64, 4, 3), Tile(128, 32, 4, 3), Tile(128, 64, 4, 2)),
  80: Tiles(Tile(128, 64, 4, 3), Tile(128, 64, 4, 2), Tile(64, 64, 4, 3)),
  128: Tiles(Tile(128, 128, 8, 2), Tile(64, 64, 4, 2), Tile(64, 64, 4, 2)),
}


def fits(head_width: int) -> bool:
  """Whether heads are narrow enough."""
  return head_width <= max(TILES)


@dataclasses.dataclass(frozen=True)
class _Settings:
  tiles: Tiles
  interpret: bool


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
  if not fits(h):
    raise ValueError(f'heads of {h} numbers; flash takes {max(TILES)}')
  tiles = tiles or TILES[min(width for width in TILES if h <= width)]
  # What fills the last block sees nothing, next to what the last query sees.
  rest = jnp.broadcast_to(ranges.start[:, -1:], (b, -q % tiles.queries))
  ranges = visibility.Ranges(
    *(jnp.concatenate([x, rest], axis=1) for x in ranges)
  )
  grouped = query.reshape(b, q, k, n // k, h)
  settings = _Settings(tiles, interpret)
  return _attend(grouped, key, value, ranges, settings).reshape(query.shape)


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
  """What a program of a kernel sees of an array."""

  query: pl.BlockSpec
  key: pl.BlockSpec
  row: pl.BlockSpec  # of numbers of queries of a head
  range: pl.BlockSpec  # of numbers of queries


def _by_queries(query: jax.Array, key: jax.Array, block: int) -> Any:
  """Grid and specs of a kernel that goes through keys for each block."""
  b, q, k, g, h = query.shape
  h = blocks_lib.padded_width(h)
  return (pl.cdiv(q, block), k * g, b), _Specs(
    pl.BlockSpec(
      (None, block, None, None, h), lambda i, n, b: (b, i, n // g, n % g, 0)
    ),
    pl.BlockSpec(
      (None, key.shape[1], None, h), lambda i, n, b: (b, 0, n // g, 0)
    ),
    pl.BlockSpec((None, None, block), lambda i, n, b: (b, n, i)),
    pl.BlockSpec((None, block), lambda i, n, b: (b, i)),
  )


def _by_keys(query: jax.Array, rows: int, block: int) -> _Specs:
  """Specs of a kernel that goes through queries for each block of keys."""
  _, q, _, g, h = query.shape
  h = blocks_lib.padded_width(h)
  return _Specs(
    pl.BlockSpec((None, q, None, g, h), lambda j, k, b: (b, 0, k, 0, 0)),
    pl.BlockSpec((None, block, None, h), lambda j, k, b: (b, j, k, 0)),
    pl.BlockSpec((None, g, rows), lambda j, k, b: (b, k, 0)),
    pl.BlockSpec((None, rows), lambda j, k, b: (b, 0)),
  )


def _call(
  kernel: Callable[..., None],
  tile: Tile,
  settings: _Settings,
  inputs: tuple[jax.Array, ...],
  **kwargs: Any,
) -> Any:
  """Runs a kernel on queries [B, Q, K, G, H], keys [B, S, K, H] and others."""
  queries, keys, width = inputs[0].shape[1], *inputs[1].shape[1::2]
  work = blocks_lib.Work(tile, queries, keys, width)
  return pl.pallas_call(
    functools.partial(kernel, work=work),
    compiler_params=plgpu.CompilerParams(
      num_warps=tile.warps, num_stages=tile.stages
    ),
    interpret=settings.interpret,
    name=f'flash_attention_{kernel.__name__}',
    **kwargs,
  )(*inputs)


def _like(*arrays: jax.Array) -> list[jax.ShapeDtypeStruct]:
  return [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays]


def _forward(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  ranges: visibility.Ranges,
  settings: _Settings,
) -> tuple[jax.Array, tuple]:
  """The context, and what `_backward` wants saved."""
  b, _, k, g, _ = query.shape
  rows = ranges.start.shape[1]  # queries, and what fills their last block
  tile = settings.tiles.forward
  grid, specs = _by_queries(query, key, tile.queries)
  context, log_total = _call(
    flash_kernels.read,
    tile,
    settings,
    (query, key, value, *ranges),
    grid=grid,
    in_specs=[specs.query, specs.key, specs.key, specs.range, specs.range],
    out_specs=[specs.query, specs.row],
    out_shape=[
      *_like(query),
      jax.ShapeDtypeStruct((b, k * g, rows), jnp.float32),
    ],
  )
  return context, (query, key, value, ranges, context, log_total)


def _backward(
  settings: _Settings, saved: tuple, gradient: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
  """The gradients of queries, keys and values, from that of the context."""
  query, key, value, ranges, context, log_total = saved
  b, q, k, g, _ = query.shape
  rows = log_total.shape[2]
  dot = jnp.einsum(
    'BQKGH,BQKGH->BKGQ', gradient, context, preferred_element_type=jnp.float32
  )
  dot = jnp.pad(dot.reshape(b, k * g, q), ((0, 0), (0, 0), (0, rows - q)))
  inputs = query, key, value, gradient, log_total, dot, *ranges

  tile = settings.tiles.of_queries
  grid, specs = _by_queries(query, key, tile.queries)
  of_query = _call(
    flash_kernels.of_queries,
    tile,
    settings,
    inputs,
    grid=grid,
    in_specs=_in_specs(specs),
    out_specs=specs.query,
    out_shape=_like(query)[0],
  )

  tile = settings.tiles.of_keys
  blocks = _query_blocks(ranges, pl.cdiv(key.shape[1], tile.keys), tile)
  specs = _by_keys(query, rows, tile.keys)
  of_key, of_value = _call(
    flash_kernels.of_keys,
    tile,
    settings,
    (*inputs, blocks),
    grid=(blocks.shape[1], k, b),
    in_specs=[
      *_in_specs(specs),
      pl.BlockSpec((None, None, 4), lambda j, k, b: (b, j, 0)),
    ],
    out_specs=[specs.key, specs.key],
    out_shape=_like(key, value),
  )
  return of_query, of_key, of_value, None


_attend.defvjp(_forward, _backward)


def _in_specs(specs: _Specs) -> list[pl.BlockSpec]:
  """Of query, key, value, gradient, log_total, dot, start and end."""
  query, key, row, range_ = specs
  return [query, key, key, query, row, row, range_, range_]


def _query_blocks(
  ranges: visibility.Ranges, count: int, tile: Tile
) -> jax.Array:
  """Which blocks of queries see blocks of keys.

  Args:
    ranges: of the queries, [B, Q].
    count: blocks of keys.
    tile: their size.

  Returns:
    int32 [B, blocks of keys, 4], see flash_kernels.of_keys.
  """
  start, end = (x.reshape(len(x), 1, -1, tile.queries) for x in ranges)
  low = (jnp.arange(count) * tile.keys)[None, :, None]
  high = low + tile.keys
  overlaps = (start.min(-1) < high) & (end.max(-1) > low)
  full = (start.max(-1) <= low) & (end.min(-1) >= high)
  number = jnp.arange(overlaps.shape[-1])

  def first(which: jax.Array) -> jax.Array:
    return jnp.min(jnp.where(which, number, number.size), axis=-1)

  stop = jnp.max(jnp.where(overlaps, number + 1, 0), axis=-1)
  begin = jnp.minimum(first(overlaps), stop)
  first_full = jnp.clip(first(full), begin, stop)
  broken = ~full & (number >= first_full[..., None])
  stop_full = jnp.clip(first(broken), first_full, stop)
  blocks = jnp.stack([begin, first_full, stop_full, stop], axis=-1)
  return blocks.astype(jnp.int32)

"""Blocks of rows in kernels of flash attention: loads, stores and products.

A block may reach behind the last row, and a part of a head behind its last
number: what is not there is read as 0 and never written.

Legend: Q queries, S keys, H head width; c queries of a block, s its keys.
"""

import dataclasses
import functools
import math
from typing import Any
from typing import NamedTuple

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
import jax.numpy as jnp

# A head's numbers as products want them, in parts of powers of two: 72 is 64
# and 16, the last half empty.
Parts = tuple[jax.Array, ...]
# The least rows and columns that a product takes.
LEAST = 16


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
class Work:
  """What all programs of a kernel know.

  Attributes:
    tile: how it is cut.
    queries: Q.
    keys: S.
    width: H.
  """

  tile: Tile
  queries: int
  keys: int
  width: int

  @property
  def scale(self) -> float:
    """Of scores."""
    return self.width**-0.5


def padded_width(width: int) -> int:
  """Of heads, as kernels see them: what is not there is never touched."""
  return width + -width % LEAST


class Rows(NamedTuple):
  """Some rows of an array."""

  at: Any
  held: jax.Array | None  # which of them there are; None for all
  width: int  # of each


def queries(number: jax.Array, work: Work, local: bool = False) -> Rows:
  """A block of queries; of a `local` one all rows."""
  return _rows(number, work.tile.queries, work.queries, work.width, local)


def keys(number: jax.Array, work: Work, local: bool = False) -> Rows:
  """A block of keys, likewise."""
  return _rows(number, work.tile.keys, work.keys, work.width, local)


def _rows(
  number: jax.Array, size: int, count: int, width: int, local: bool
) -> Rows:
  start = number * size
  held = start + jnp.arange(size) < count if count % size else None
  return Rows(pl.ds(0 if local else start, size), held, width)


def _parts(
  array: Any, rows: Rows, head: tuple[jax.Array, ...] = ()
) -> list[tuple[Any, jax.Array | None]]:
  """References to the parts of rows, and masks of what of them there is."""
  parts, start = [], 0
  while start < rows.width:
    size = max(LEAST, 2 ** int(math.log2(rows.width - start)))
    mask = None if rows.held is None else rows.held[:, None]
    if start + size > rows.width:
      columns = (start + jnp.arange(size) < rows.width)[None, :]
      mask = columns if mask is None else mask & columns
    parts.append((array.at[rows.at, *head, pl.ds(start, size)], mask))
    start += size
  return parts


def load(array: Any, rows: Rows, *head: jax.Array) -> Parts:
  """Rows of an array, [.., H]; what is not there is 0."""
  return tuple(
    part[...] if mask is None else plgpu.load(part, mask=mask, other=0.0)
    for part, mask in _parts(array, rows, head)
  )


def store(array: Any, rows: Rows, parts: Parts) -> None:
  for (at, mask), part in zip(_parts(array, rows), parts, strict=True):
    plgpu.store(at, part.astype(array.dtype), mask=mask)


def zeros(parts: Parts) -> Parts:
  return tuple(jnp.zeros(x.shape, jnp.float32) for x in parts)


def scaled(parts: Parts, scale: float | jax.Array) -> Parts:
  return tuple(x * scale for x in parts)


def scores(a: Parts, b: Parts) -> jax.Array:
  """float32 [rows of a, rows of b]: all numbers of heads multiplied."""
  products = (plgpu.dot(x, y.T) for x, y in zip(a, b, strict=True))
  return functools.reduce(jnp.add, products)


def add(sums: Parts, weights: jax.Array, rows: Parts) -> Parts:
  """sums + weights x rows, in float32."""
  return tuple(
    x + plgpu.dot(weights.astype(y.dtype), y) for x, y in zip(sums, rows)
  )

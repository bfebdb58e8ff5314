"""The vision tower: from the tiles of images of any size to their features.

A tile is the square of patches that one visual token is made of. All tiles of
an image see each other, in most layers of Qwen2.5-VL those of a window, and
rotary embedding says which row and column of the image a patch stands in; a row
of a batch holds the tiles of several images one behind the other.

Legend: B batch, I tiles, P patches of all tiles, D width, N heads, H head
width.
"""

from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.models import attention
from visor_jax.models import attention_arrays
from visor_jax.models import backbone
from visor_jax.models import compute as compute_lib
from visor_jax.models import layers
from visor_jax.models import params
from visor_jax.models import positions
from visor_jax.models import scanning
from visor_jax.models import sharding
from visor_jax.models import vision
from visor_jax.spec import sizes

THETA = 1e4  # base of the frequencies


class Grid(NamedTuple):
  """Where patches stand."""

  image: jax.Array  # int32 [B, P], which of a row, counted from 1
  window: jax.Array  # int32 [B, P], which of all in a row, likewise
  at: jax.Array  # int32 [B, P, 2], row and column in the image

  def slots(self, full: bool | jax.Array) -> positions.Slots:
    """All of an image meet, or all of a window."""
    segment = jnp.where(full, self.image, self.window)
    return positions.Slots(segment, jnp.zeros_like(segment))


def grid(tile_grid: jax.Array, size: sizes.Vision) -> Grid:
  """Where the patches of tiles stand.

  Args:
    tile_grid: int32 [B, I, 2], see batch.Batch; a window's follow one another.
    size: how large tiles and windows are.
  """
  b, merge = len(tile_grid), size.merge
  image = jnp.cumsum((tile_grid == 0).all(axis=2), axis=1)
  window = image
  if size.window:
    of = jnp.concatenate([image[..., None], tile_grid // size.window], axis=2)
    new = (of[:, 1:] != of[:, :-1]).any(axis=2)
    window = 1 + jnp.cumsum(jnp.pad(new, ((0, 0), (1, 0))), axis=1)
  inside = jnp.stack(jnp.divmod(jnp.arange(merge**2), merge), axis=-1)
  at = (tile_grid[:, :, None] * merge + inside).reshape(b, -1, 2)
  image, window = (jnp.repeat(x, merge**2, axis=1) for x in (image, window))
  return Grid(image, window, at)


def norm(size: sizes.Vision, name: str) -> nn.Module:
  """Of patches, as towers with and without windows have it."""
  kind = layers.RMSNorm if size.window else vision.LayerNorm
  return kind(size.norm_eps, name=name)


def rope(x: jax.Array, at: jax.Array) -> jax.Array:
  """Rotary embedding of [B, P, N, H]: half by rows, half by columns."""
  quarter = x.shape[-1] // 4
  frequency = THETA ** (-jnp.arange(quarter, dtype=jnp.float32) / quarter)
  angle = at[..., None].astype(jnp.float32) * frequency
  return positions.rotate(x, angle.reshape(*at.shape[:2], 1, -1))


class Block(nn.Module):
  """Pre-norm attention over the patches of an image, and an MLP."""

  size: sizes.Vision
  compute: compute_lib.Compute

  @nn.compact
  def __call__(
    self, x: jax.Array, grid: Grid, full: bool | jax.Array
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """[B, P, D] -> [B, P, D], and query and key, [B, P, N, H].

    Args:
      x: of the patches.
      grid: where they stand.
      full: they see all of their image, not of their window alone.
    """
    size = self.size
    d, n, h = size.width, size.heads, size.width // size.heads

    def linear(
      x: jax.Array,
      name: str,
      shape: tuple[int, ...],
      axes: tuple[str | None, ...],
      inputs: int = 1,
    ) -> jax.Array:
      kernel = params.param(self, name, shape, axes, params.fan_in(inputs))
      bias = params.param(
        self, name + '_bias', shape[inputs:], axes[inputs:], params.zeros
      )
      return params.dense(x, kernel, inputs) + bias

    x = sharding.constrain_slots(x)
    y = norm(size, 'attention_norm')(x)
    qkv = linear(y, 'qkv', (d, 3, n, h), ('embed', None, 'heads', 'head'))
    query, key, value = (qkv[:, :, part] for part in range(3))
    query, key = rope(query, grid.at), rope(key, grid.at)
    segment = grid.slots(full).segment
    context = attention.attend_all(query, key, value, self.compute, segment)
    y = linear(context, 'out', (n, h, d), ('heads', 'head', 'embed'), 2)
    x = sharding.constrain_slots(x + y)
    y = norm(size, 'mlp_norm')(x)
    up = linear(y, 'up', (d, size.mlp), ('embed', 'mlp'))
    if size.window:
      y = up * nn.silu(linear(y, 'gate', (d, size.mlp), ('embed', 'mlp')))
    else:
      y = up * nn.sigmoid(1.702 * up)  # as CLIP's approximation of GELU
    y = linear(y, 'down', (size.mlp, d), ('mlp', 'embed'))
    return sharding.constrain_slots(x + y), query, key


class Tower(nn.Module):
  """uint8 tiles to the features of their patches, side by side."""

  size: sizes.Vision
  compute: compute_lib.Compute = compute_lib.Compute()

  @nn.compact
  def __call__(
    self, tiles: jax.Array, tile_grid: jax.Array, rate: bool = False
  ) -> backbone.PatchFeatures:
    """uint8 [B, I, height, width, 3] to features [B, I, merge**2 * D].

    Args:
      tiles: of each row.
      tile_grid: int32 [B, I, 2], where in their images they stand.
      rate: also rate the tiles, by the last layer.
    """
    size, dtype = self.size, self.compute.dtype
    b, i = tiles.shape[:2]
    x, at = self._embed(tiles), grid(tile_grid, size)
    full = jnp.array(
      [not size.window or i in size.full_layers for i in range(size.depth)]
    )
    block = Block(size, self.compute, parent=None)

    def init_block(key: jax.Array) -> params.Tree:
      one = jax.tree.map(lambda x: x[:1, :1], at)
      return block.init(key, jnp.zeros((1, 1, size.width)), one, True)['params']

    def run(
      x: jax.Array, layer: tuple[params.Tree, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
      weights = params.cast(layer[0], dtype)
      return block.bind({'params': weights})(x, at, layer[1])

    def body(
      x: jax.Array, layer: tuple[params.Tree, jax.Array]
    ) -> tuple[jax.Array, None]:
      return run(x, layer)[0], None

    weights = self.param('layers', params.stacked(init_block, size.depth))
    stack = params.uncast(weights, dtype), full
    step = scanning.remat(body, self.compute, prevent_cse=False)
    if not rate:
      x, _ = jax.lax.scan(step, x, stack)
      return backbone.PatchFeatures(x.reshape(b, i, -1))
    x, _ = jax.lax.scan(step, x, jax.tree.map(lambda x: x[:-1], stack))
    x, query, key = run(x, params.take_layer(stack, -1))
    query, key = jax.lax.stop_gradient((query, key))
    slots, chunk = at.slots(full[-1]), self.compute.chunk

    def of_tiles(x: jax.Array) -> jax.Array:
      return x.reshape(b, i, -1, *x.shape[2:]).mean(axis=2)

    return backbone.PatchFeatures(
      x.reshape(b, i, -1),
      of_tiles(received(query, key, slots, chunk)),
      of_tiles(key.mean(axis=2)),
    )

  def _embed(self, tiles: jax.Array) -> jax.Array:
    """uint8 [B, I, height, width, 3] -> [B, P, D], tile by tile."""
    size, dtype = self.size, self.compute.dtype
    (b, i), m, p = tiles.shape[:2], size.merge, size.patch
    x = vision.normalized(tiles, size, dtype)
    x = x.reshape(b, i, m, p, m, p, 3).swapaxes(3, 4)
    x = x.reshape(b, i * m * m, p * p * 3)
    x = jnp.tile(x, 2)  # a still image is two frames of a film that are alike
    shape = x.shape[-1], size.width
    kernel = params.param(self, 'patch', shape, ('patch', 'embed'))
    return params.dense(x, kernel.astype(dtype))


def received(
  query: jax.Array, key: jax.Array, slots: positions.Slots, chunk: int
) -> jax.Array:
  """How much attention each patch gets of all in its image.

  Args:
    query: [B, P, N, H], not scaled.
    key: likewise.
    slots: where they stand.
    chunk: queries that are scored at a time.

  Returns:
    float32 [B, P], averaged over heads, summed over queries.
  """
  patches = query.shape[1]
  chunk = min(chunk, patches)
  rest = -patches % chunk

  def cut(x: jax.Array) -> jax.Array:
    x = jnp.pad(x, ((0, 0), (0, rest), *((0, 0),) * (x.ndim - 2)))
    x = x.reshape(len(x), -1, chunk, *x.shape[2:])
    return x.swapaxes(0, 1)

  def of_chunk(cut: tuple[jax.Array, positions.Slots]) -> jax.Array:
    query, query_slots = cut
    return attention_arrays.shares(query, key, query_slots, slots).sum(axis=1)

  queries = cut(query), jax.tree.map(cut, slots)
  return jax.lax.map(of_chunk, queries).sum(axis=0)

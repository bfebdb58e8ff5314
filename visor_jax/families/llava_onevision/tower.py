"""The vision tower: SigLIP's transformer, from uint8 tiles to patch features.

As LLaVA-OneVision uses it: all `depth` layers, no final norm, no pooling.

Legend: B batch, I tiles, P patches of a tile, D width, N heads, H head width.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.models import attention
from visor_jax.models import backbone
from visor_jax.models import compute as compute_lib
from visor_jax.models import params
from visor_jax.models import scanning
from visor_jax.models import sharding
from visor_jax.models import vision
from visor_jax.spec import sizes


class Block(nn.Module):
  """Pre-norm attention over the patches of a tile, and an MLP."""

  size: sizes.Vision
  compute: compute_lib.Compute

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """[tiles, P, D] -> [tiles, P, D], and query and key, [tiles, P, N, H]."""
    size = self.size
    d, n, h = size.width, size.heads, size.width // size.heads

    def linear(
      x: jax.Array,
      name: str,
      shape: tuple[int, ...],
      axes: tuple[str, ...],
      inputs: int = 1,
    ) -> jax.Array:
      kernel = params.param(self, name, shape, axes, params.fan_in(inputs))
      bias = params.param(
        self, name + '_bias', shape[inputs:], axes[inputs:], params.zeros
      )
      return params.dense(x, kernel, inputs) + bias

    x = sharding.constrain_tiles(x)
    y = vision.LayerNorm(size.norm_eps, name='attention_norm')(x)
    query, key, value = (
      linear(y, name, (d, n, h), ('embed', 'heads', 'head'))
      for name in ('query', 'key', 'value')
    )
    context = attention.attend_all(query, key, value, self.compute)
    y = linear(context, 'out', (n, h, d), ('heads', 'head', 'embed'), 2)
    x = sharding.constrain_tiles(x + y)
    y = vision.LayerNorm(size.norm_eps, name='mlp_norm')(x)
    y = linear(y, 'up', (d, size.mlp), ('embed', 'mlp'))
    y = nn.gelu(y, approximate=True)
    y = linear(y, 'down', (size.mlp, d), ('mlp', 'embed'))
    return sharding.constrain_tiles(x + y), query, key


class Tower(nn.Module):
  """uint8 tiles to patch features."""

  size: sizes.Vision
  compute: compute_lib.Compute = compute_lib.Compute()

  @nn.compact
  def __call__(
    self, tiles: jax.Array, tile_grid: jax.Array, rate: bool = False
  ) -> backbone.PatchFeatures:
    """uint8 [B, I, height, width, 3] to the features of row-major patches.

    Args:
      tiles: of each row.
      tile_grid: not looked at, every tile stands alone.
      rate: also rate the patches, by the last layer; a tower without layers,
        where no attention is, does as if features were query and key of one
        head.
    """
    del tile_grid
    size, dtype = self.size, self.compute.dtype
    b, i = tiles.shape[:2]
    x = self._embed(tiles)
    query = key = x[:, :, None]
    if size.depth:
      block = Block(size, self.compute, parent=None)

      def init_block(key: jax.Array) -> params.Tree:
        return block.init(key, jnp.zeros((1, 1, size.width)))['params']

      def run(
        x: jax.Array, weights: params.Tree
      ) -> tuple[jax.Array, jax.Array, jax.Array]:
        return block.bind({'params': params.cast(weights, dtype)})(x)

      def body(x: jax.Array, weights: params.Tree) -> tuple[jax.Array, None]:
        return run(x, weights)[0], None

      stack = self.param('layers', params.stacked(init_block, size.depth))
      stack = params.uncast(stack, dtype)
      step = scanning.remat(body, self.compute, prevent_cse=False)
      if rate:
        last = params.take_layer(stack, -1)
        stack = jax.tree.map(lambda x: x[:-1], stack)
        x, _ = jax.lax.scan(step, x, stack)
        x, query, key = run(x, last)
      else:
        x, _ = jax.lax.scan(step, x, stack)

    features = x.reshape(b, i * size.patches, -1)
    if not rate:
      return backbone.PatchFeatures(features)
    return vision.rated(features, query, key)

  def _embed(self, tiles: jax.Array) -> jax.Array:
    """uint8 [B, I, height, width, 3] -> [B * I, P, D]."""
    size, dtype = self.size, self.compute.dtype
    b, i = tiles.shape[:2]
    (rows, columns), p = size.grid, size.patch
    # A tile that patches do not divide loses its last pixels, as in SigLIP.
    x = tiles[:, :, : rows * p, : columns * p]
    x = vision.normalized(x, size, dtype)
    x = x.reshape(b * i, rows, p, columns, p, 3).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(b * i, rows * columns, p * p * 3)
    kernel = params.param(
      self, 'patch', (p * p * 3, size.width), ('patch', 'embed')
    )
    bias = params.param(
      self, 'patch_bias', (size.width,), ('embed',), params.zeros
    )
    # As large as the features: places are told apart from the first step on.
    position = params.param(
      self,
      'position',
      (size.patches, size.width),
      ('patch', 'embed'),
      nn.initializers.normal(1.0),
    )
    x = params.dense(x, kernel.astype(dtype))
    return x + (bias + position).astype(dtype)

"""The vision tower: SigLIP's transformer, from uint8 tiles to patch features.

As LLaVA-OneVision uses it: all `depth` layers, no final norm, no pooling.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.models import compute as compute_lib
from visor_jax.models import layers
from visor_jax.reduction import gather
from visor_jax.spec import sizes


class LayerNorm(nn.Module):
  """LayerNorm in float32; [..., D] -> [..., D]."""

  eps: float

  @nn.compact
  def __call__(self, x):
    d = x.shape[-1:]
    scale = layers.param(self, 'scale', d, ('norm',), layers.ones)
    bias = layers.param(self, 'bias', d, ('norm',), layers.zeros)
    high = x.astype(jnp.float32)
    high = jax.nn.standardize(high, axis=-1, epsilon=self.eps)
    return high.astype(x.dtype) * scale + bias


class Block(nn.Module):
  """Pre-norm attention over the patches of a tile, and an MLP."""

  size: sizes.Vision
  attention: str

  @nn.compact
  def __call__(self, x):
    """[tiles, P, D] -> [tiles, P, D], and query and key, [tiles, P, N, H]."""
    size = self.size
    d, n, h = size.width, size.heads, size.width // size.heads
    norm = lambda name: LayerNorm(size.norm_eps, name=name)

    def linear(y, name, shape, axes, inputs=1):
      kernel = layers.param(self, name, shape, axes, layers.fan_in(inputs))
      bias = layers.param(
        self, name + '_bias', shape[inputs:], axes[inputs:], layers.zeros
      )
      return layers.dense(y, kernel, inputs) + bias

    x = layers.constrain_batch(x)
    y = norm('attention_norm')(x)
    query, key, value = (
      linear(y, name, (d, n, h), ('embed', 'heads', 'head'))
      for name in ('query', 'key', 'value')
    )
    gpu = jax.default_backend() == 'gpu' and x.dtype == jnp.bfloat16
    context = jax.nn.dot_product_attention(
      query,
      key,
      value,
      implementation='cudnn' if gpu and self.attention == 'auto' else 'xla',
    )
    x = layers.constrain_batch(
      x + linear(context, 'out', (n, h, d), ('heads', 'head', 'embed'), 2)
    )
    y = linear(norm('mlp_norm')(x), 'up', (d, size.mlp), ('embed', 'mlp'))
    y = nn.gelu(y, approximate=True)
    x = x + linear(y, 'down', (size.mlp, d), ('mlp', 'embed'))
    return layers.constrain_batch(x), query, key


def received(query, key):
  """How much attention each patch of a tile gets of all.

  One tile of each row at a time, so that scores never fill memory.

  Args:
    query: [B, I, P, N, H], not scaled.
    key: [B, I, P, N, H].

  Returns:
    float32 [B, I, P], averaged over queries and heads.
  """

  def one(tile):
    query, key = tile
    scores = jnp.einsum(
      'BPNH,BQNH->BNPQ', query, key, preferred_element_type=jnp.float32
    )
    weights = jax.nn.softmax(scores * query.shape[-1] ** -0.5, axis=-1)
    return weights.mean(axis=(1, 2))

  tiles = jax.tree.map(lambda x: x.swapaxes(0, 1), (query, key))
  return jax.lax.map(one, tiles).swapaxes(0, 1)


class Vision(nn.Module):
  """uint8 tiles to patch features."""

  size: sizes.Vision
  compute: compute_lib.Compute = compute_lib.Compute()

  @nn.compact
  def __call__(self, tiles, rate: bool = False):
    """uint8 [B, I, height, width, 3] -> [B, I * P, D]; patches row-major.

    With `rate` also reduce.Rated, of the last layer; of a tower without layers,
    where no attention is, as if features were query and key of one head.
    """
    size, dtype = self.size, self.compute.dtype
    b, i = tiles.shape[:2]
    (rows, columns), p = size.grid, size.patch
    # A tile that patches do not divide loses its last pixels, as in SigLIP.
    x = tiles[:, :, : rows * p, : columns * p].astype(jnp.float32) / 255
    x = ((x - size.mean) / size.std).astype(dtype)
    x = x.reshape(b * i, rows, p, columns, p, 3).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(b * i, rows * columns, p * p * 3)
    kernel = layers.param(
      self, 'patch', (p * p * 3, size.width), ('patch', 'embed')
    )
    bias = layers.param(
      self, 'patch_bias', (size.width,), ('embed',), layers.zeros
    )
    # As large as the features: places are told apart from the first step on.
    position = layers.param(
      self,
      'position',
      (size.patches, size.width),
      ('patch', 'embed'),
      nn.initializers.normal(1.0),
    )
    x = layers.dense(x, kernel.astype(dtype))
    x = x + (bias + position).astype(dtype)
    query = key = x[:, :, None]
    if size.depth:
      block = Block(size, self.compute.attention, parent=None)
      one = jnp.zeros((1, 1, size.width))
      stack = self.param(
        'layers',
        layers.stacked(lambda key: block.init(key, one)['params'], size.depth),
      )

      def run(x, weights):
        return block.apply({'params': layers.cast(weights, dtype)}, x)

      body = layers.remat(
        lambda x, weights: (run(x, weights)[0], None),
        self.compute,
        prevent_cse=False,
      )
      if rate:
        stack, last = (
          jax.tree.map(lambda x: x[part], stack) for part in (slice(-1), -1)
        )
      x, _ = jax.lax.scan(body, x, stack)
      if rate:
        x, query, key = run(x, last)
    flat = lambda y: y.reshape(b, i * size.patches, -1)
    if not rate:
      return flat(x)
    query, key = jax.lax.stop_gradient(
      tuple(y.reshape(b, i, *y.shape[1:]) for y in (query, key))
    )
    return flat(x), gather.PatchRating(
      received(query, key).reshape(b, -1), flat(key.mean(axis=3))
    )

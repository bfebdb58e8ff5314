"""The vision tower: FastViTHD, from uint8 tiles to patch features.

Convolutions in five stages, attention in the last two; in the form in which
branches and identities of its training are folded into the kernels, as
checkpoints have it (timm's fastvit_mci3, MobileCLIP2-L of Apple).

Legend: B batch, I tiles, P patches of a tile, C channels, N heads, H head
width; [tiles, rows, columns, C] are features of a stage.
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

SMALL, LARGE = 3, 7  # rows and columns of kernels
MLP = 4  # times as wide as a layer
SQUEEZE = 16  # times narrower than the features
ATTENTION = 2  # stages that have it, the last ones
BATCH_NORM_EPS = 1e-5
# What layers add to their input starts so small, as in timm.
_LAYER_SCALE = nn.initializers.constant(1e-5)

Queries = tuple[jax.Array, jax.Array]  # and keys, [tiles, P, N, H]


def _spread(*lengths: int) -> tuple[str | None, ...]:
  """Logical axes of a kernel: the widest is spread if any mesh in use can.

  What is too narrow for that lies on every device; it is little of the tower.
  """
  widest = lengths.index(max(lengths))
  return tuple(
    'embed' if axis == widest and length % 512 == 0 else None
    for axis, length in enumerate(lengths)
  )


class Linear(nn.Module):
  """A product of all channels, with a bias: a convolution of one pixel."""

  width: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[..., C] -> [..., width]."""
    shape = x.shape[-1], self.width
    kernel = params.param(self, 'kernel', shape, _spread(*shape))
    bias = params.param(self, 'bias', shape[1:], (None,), params.zeros)
    return params.dense(x, kernel.astype(x.dtype)) + bias.astype(x.dtype)


class Convolution(nn.Module):
  """A convolution of `groups` of channels each alone."""

  width: int
  side: int
  groups: int = 1
  stride: int = 1
  use_bias: bool = True

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[tiles, rows, columns, C] -> the same divided by the stride, `width`."""
    side, pad = self.side, self.side // 2
    shape = side, side, x.shape[-1] // self.groups, self.width
    kernel = params.param(self, 'kernel', shape, 4 * (None,), params.fan_in(3))
    x = jax.lax.conv_general_dilated(
      x,
      kernel.astype(x.dtype),
      (self.stride, self.stride),
      [(pad, pad), (pad, pad)],
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
      feature_group_count=self.groups,
    )
    if not self.use_bias:
      return x
    bias = params.param(self, 'bias', shape[-1:], (None,), params.zeros)
    return x + bias.astype(x.dtype)


class FrozenBatchNorm(nn.Module):
  """BatchNorm by what was measured when the tower was trained."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    c = x.shape[-1:]
    scale = params.param(self, 'scale', c, ('norm',), params.ones)
    bias = params.param(self, 'bias', c, ('norm',), params.zeros)
    mean = params.param(self, 'running_mean', c, ('norm',), params.zeros)
    var = params.param(self, 'running_var', c, ('norm',), params.ones)
    factor = scale * jax.lax.rsqrt(var + BATCH_NORM_EPS)
    high = x.astype(jnp.float32)
    return (high * factor + (bias - mean * factor)).astype(x.dtype)


class Mlp(nn.Module):
  """A depthwise convolution, its norm, and two linear layers."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[tiles, rows, columns, C] -> the same."""
    c = x.shape[-1]
    x = Convolution(c, LARGE, c, use_bias=False, name='mix')(x)
    x = FrozenBatchNorm(name='norm')(x)
    x = nn.gelu(Linear(MLP * c, name='up')(x), approximate=False)
    return Linear(c, name='down')(x)


class Block(nn.Module):
  """A layer of a stage: pixels are mixed, then an MLP.

  Attributes:
    heads: of attention; 0 for a depthwise convolution.
    norm_eps: of the norm before attention.
    compute: names the implementation of attention.
  """

  heads: int
  norm_eps: float
  compute: compute_lib.Compute

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, Queries | None]:
    """[tiles, rows, columns, C] -> the same, and queries and keys if any."""
    x = sharding.constrain_tiles(x)
    c, queries = x.shape[-1], None
    if self.heads:
      y = vision.LayerNorm(self.norm_eps, name='norm')(x)
      y, queries = self._attend(y)
      x = x + self._layer_scale('attention_scale', y)
    else:
      x = Convolution(c, SMALL, c, name='mix')(x)  # with the identity
    y = Mlp(name='mlp')(x)
    x = x + self._layer_scale('mlp_scale', y)
    return sharding.constrain_tiles(x), queries

  def _attend(self, x: jax.Array) -> tuple[jax.Array, Queries]:
    tiles, rows, columns, c = x.shape
    shape = c, 3, self.heads, c // self.heads
    kernel = params.param(self, 'qkv', shape, _spread(*shape))
    x = x.reshape(tiles, rows * columns, c)
    qkv = params.dense(x, kernel.astype(x.dtype))
    query, key, value = (qkv[:, :, part] for part in range(3))
    y = attention.attend_all(query, key, value, self.compute)
    y = Linear(c, name='out')(y.reshape(x.shape))
    return y.reshape(tiles, rows, columns, c), (query, key)

  def _layer_scale(self, name: str, x: jax.Array) -> jax.Array:
    """What a layer adds to its input, times a parameter."""
    scale = params.param(self, name, x.shape[-1:], ('norm',), _LAYER_SCALE)
    return scale.astype(x.dtype) * x


class Stage(nn.Module):
  """Layers that are as wide as one another, and what leads to them.

  Attributes:
    width: C.
    depth: layers.
    heads: of their attention; 0 for none.
    norm_eps: of the norm before attention.
    compute: settings of the program.
  """

  width: int
  depth: int
  heads: int
  norm_eps: float
  compute: compute_lib.Compute

  @nn.compact
  def __call__(
    self, x: jax.Array, rate: bool
  ) -> tuple[jax.Array, Queries | None]:
    """[tiles, rows, columns, width], or twice as fine and half as wide.

    Args:
      x: features of the stage before.
      rate: also give queries and keys of the last layer.

    Returns:
      [tiles, rows, columns, width], queries and keys.
    """
    c = self.width
    if x.shape[-1] != c:
      x = Convolution(c, LARGE, x.shape[-1], stride=2, name='down_0')(x)
      x = nn.gelu(x, approximate=False)
      x = nn.gelu(Linear(c, name='down_1')(x), approximate=False)
    if self.heads:
      x = Convolution(c, LARGE, c, name='position')(x)  # with the identity
    block = Block(self.heads, self.norm_eps, self.compute, parent=None)

    def init_block(key: jax.Array) -> params.Tree:
      return block.init(key, jnp.zeros((1, 1, 1, c)))['params']

    def body(
      x: jax.Array, weights: params.Tree
    ) -> tuple[jax.Array, Queries | None]:
      x, queries = block.bind({'params': weights})(x)
      return x, queries if rate else None

    stack = self.param('layers', params.stacked(init_block, self.depth))
    step = scanning.remat(body, self.compute, prevent_cse=False)
    x, queries = jax.lax.scan(step, x, stack)
    last: Queries | None = params.take_layer(queries, -1)
    return x, last


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
      rate: also rate the patches, by the last layer.
    """
    del tile_grid
    size = self.size
    b, i = tiles.shape[:2]
    x = tiles.reshape(b * i, *tiles.shape[2:])
    x = vision.normalized(x, size, self.compute.dtype)
    last = len(size.stages) - 1
    x = self._stem(x, size.width >> last)
    for number, depth in enumerate(size.stages):
      width = size.width >> (last - number)
      heads = size.heads >> (last - number) if last - number < ATTENTION else 0
      stage = Stage(
        width, depth, heads, size.norm_eps, self.compute, name=f'stage_{number}'
      )
      x, queries = stage(x, rate and number == last)
    features = self._head(x).reshape(b, i * size.patches, -1)
    if queries is None:
      return backbone.PatchFeatures(features)
    return vision.rated(features, *queries)

  def _stem(self, x: jax.Array, width: int) -> jax.Array:
    """[tiles, height, width, 3] -> a quarter of rows and columns, `width`."""
    for block in (
      Convolution(width, SMALL, stride=2, name='stem_0'),
      Convolution(width, SMALL, width, stride=2, name='stem_1'),
      Linear(width, name='stem_2'),
    ):
      x = nn.gelu(block(x), approximate=False)
    return x

  def _head(self, x: jax.Array) -> jax.Array:
    """Twice the channels, of which each image weighs its own."""
    c, width = x.shape[-1], self.size.features
    x = Convolution(width, SMALL, c, name='head')(x)
    y = x.mean(axis=(1, 2), dtype=jnp.float32).astype(x.dtype)
    y = nn.relu(Linear(width // SQUEEZE, name='squeeze')(y))
    y = nn.sigmoid(Linear(width, name='excite')(y))
    return nn.gelu(x * y[:, None, None], approximate=False)

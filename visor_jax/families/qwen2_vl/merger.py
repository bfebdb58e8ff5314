"""The connector: patches that are neighbours become a visual token."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.families.qwen2_vl import tower
from visor_jax.models import backbone
from visor_jax.models import compute as compute_lib
from visor_jax.models import params
from visor_jax.models import sharding
from visor_jax.spec import sizes


class Merger(nn.Module):
  """A norm of each patch, and two layers on those of a tile side by side."""

  size: sizes.Size
  compute: compute_lib.Compute = compute_lib.Compute()

  @nn.compact
  def __call__(
    self,
    tiles: jax.Array,
    gather_index: jax.Array,
    gather_weight: jax.Array,
  ) -> jax.Array:
    """Projects the tiles and places them.

    Args:
      tiles: [B, I, features], patch by patch.
      gather_index: int32 [B, V, 1]; I for none.
      gather_weight: float32 [B, V, 1].

    Returns:
      [B, V, D] visual tokens.
    """
    size, d, dtype = self.size.vision, self.size.language.width, tiles.dtype
    f = size.features

    def linear(
      x: jax.Array, name: str, shape: tuple[int, int], axes: tuple[str, str]
    ) -> jax.Array:
      kernel = params.param(self, name, shape, axes)
      bias = params.param(
        self, name + '_bias', shape[1:], axes[1:], params.zeros
      )
      return params.dense(x, kernel.astype(dtype)) + bias.astype(dtype)

    x = sharding.constrain_slots(tiles)
    x = x.reshape(*x.shape[:2], -1, size.width)
    x = tower.norm(size, 'norm')(x).reshape(tiles.shape)
    x = linear(x, 'in', (f, f), ('embed', 'mlp'))
    x = linear(nn.gelu(x, approximate=False), 'out', (f, d), ('mlp', 'embed'))
    newline = jnp.zeros(d, dtype)  # there is none
    return backbone.gather(x, newline, gather_index, gather_weight)

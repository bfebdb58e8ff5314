"""From patch features to visual tokens: a two-layer MLP and a gather."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.models import backbone
from visor_jax.models import compute as compute_lib
from visor_jax.models import params
from visor_jax.models import sharding
from visor_jax.spec import sizes


class Connector(nn.Module):
  """A projector and, where images have rows to end, a learned newline."""

  size: sizes.Size
  compute: compute_lib.Compute = compute_lib.Compute()
  newline: bool = True

  @nn.compact
  def __call__(
    self,
    patches: jax.Array,
    gather_index: jax.Array,
    gather_weight: jax.Array,
  ) -> jax.Array:
    """Projects the patches and places them.

    Args:
      patches: [B, I * P, width of features].
      gather_index: int32 [B, V, K]; I * P is the newline, or 0.
      gather_weight: float32 [B, V, K].

    Returns:
      [B, V, D] visual tokens.
    """
    features, d = self.size.vision.features, self.size.language.width
    dtype = self.compute.dtype

    def weight(
      name: str,
      shape: tuple[int, ...],
      axes: tuple[str, ...],
      init: params.Initializer = params.fan_in(),
    ) -> jax.Array:
      return params.param(self, name, shape, axes, init).astype(dtype)

    x = sharding.constrain_slots(patches)
    x = params.dense(x, weight('in', (features, d), ('vision', 'embed')))
    x = x + weight('in_bias', (d,), ('embed',), params.zeros)
    x = nn.gelu(x, approximate=False)
    x = params.dense(x, weight('out', (d, d), ('hidden', 'embed')))
    x = x + weight('out_bias', (d,), ('embed',), params.zeros)
    newline = jnp.zeros(d, dtype)
    if self.newline:
      newline = weight('newline', (d,), ('embed',), params.small)
    return backbone.gather(x, newline, gather_index, gather_weight)

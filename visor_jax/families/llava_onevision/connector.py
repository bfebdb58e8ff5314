"""From patch features to visual tokens: a two-layer MLP and a gather."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.models import compute as compute_lib
from visor_jax.models import params
from visor_jax.spec import sizes


class Connector(nn.Module):
  """LLaVA-OneVision's projector and learned newline."""

  size: sizes.Size
  compute: compute_lib.Compute = compute_lib.Compute()

  @nn.compact
  def __call__(
    self,
    patches: jax.Array,
    gather_index: jax.Array,
    gather_weight: jax.Array,
  ) -> jax.Array:
    """Projects the patches and places them.

    Args:
      patches: [B, I * P, vision width].
      gather_index: int32 [B, V, K]; I * P is the newline.
      gather_weight: float32 [B, V, K].

    Returns:
      [B, V, D] visual tokens.
    """
    vision_width, d = self.size.vision.width, self.size.language.width
    dtype = self.compute.dtype

    def weight(
      name: str,
      shape: tuple[int, ...],
      axes: tuple[str, ...],
      init: params.Initializer = params.fan_in(),
    ) -> jax.Array:
      return params.param(self, name, shape, axes, init).astype(dtype)

    x = params.constrain_batch(patches)
    x = params.dense(x, weight('in', (vision_width, d), ('vision', 'embed')))
    x = x + weight('in_bias', (d,), ('embed',), params.zeros)
    x = nn.gelu(x, approximate=False)
    x = params.dense(x, weight('out', (d, d), ('hidden', 'embed')))
    x = x + weight('out_bias', (d,), ('embed',), params.zeros)
    newline = weight('newline', (d,), ('embed',), params.small)
    newline = jnp.broadcast_to(newline, (x.shape[0], 1, d))
    x = jnp.concatenate([x, newline], axis=1)
    weighted = (
      jnp.take_along_axis(x, gather_index[..., k, None], axis=1)
      * gather_weight[..., k, None].astype(dtype)
      for k in range(gather_index.shape[-1])
    )
    return params.constrain_batch(sum(weighted, start=jnp.zeros((), dtype)))

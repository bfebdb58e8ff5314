"""From patch features to visual tokens: a two-layer MLP and a gather."""

from flax import linen as nn
import jax.numpy as jnp

from visor_jax.models import compute as compute_lib
from visor_jax.models import layers
from visor_jax.spec import sizes


class Connector(nn.Module):
  """LLaVA-OneVision's projector and learned newline."""

  size: sizes.Size
  compute: compute_lib.Compute = compute_lib.Compute()

  @nn.compact
  def __call__(self, patches, gather_index, gather_weight):
    """Projects the patches and places them.

    Args:
      patches: [B, I * P, vision width].
      gather_index: int32 [B, V, K]; I * P is the newline.
      gather_weight: float32 [B, V, K].

    Returns:
      [B, V, D] visual tokens.
    """
    wide, d = self.size.vision.width, self.size.language.width
    dtype = self.compute.dtype
    get = lambda *args: layers.param(self, *args).astype(dtype)
    x = layers.constrain_batch(patches)
    x = layers.dense(x, get('in', (wide, d), ('vision', 'embed')))
    x = x + get('in_bias', (d,), ('embed',), layers.zeros)
    x = nn.gelu(x, approximate=False)
    x = layers.dense(x, get('out', (d, d), ('hidden', 'embed')))
    x = x + get('out_bias', (d,), ('embed',), layers.zeros)
    newline = get('newline', (d,), ('embed',), layers.small)
    x = jnp.concatenate(
      [x, jnp.broadcast_to(newline, (x.shape[0], 1, d))], axis=1
    )
    parts = [
      jnp.take_along_axis(x, gather_index[..., k, None], axis=1)
      * gather_weight[..., k, None].astype(dtype)
      for k in range(gather_index.shape[-1])
    ]
    return layers.constrain_batch(sum(parts))

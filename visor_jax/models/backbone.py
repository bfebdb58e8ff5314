"""What a model takes from its family: a vision tower and a connector.

Legend: B batch, I tiles, P patches of a tile, V visual slots, K patches summed
into one, D width, H head width.
"""

from collections.abc import Callable
import dataclasses
from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.models import compute as compute_lib
from visor_jax.models import sharding
from visor_jax.spec import sizes


class PatchFeatures(NamedTuple):
  """What a tower says of patches; ratings only where they are asked for."""

  features: jax.Array  # [B, I * P, D]
  attention: jax.Array | None = None  # float32 [B, I * P], that a patch gets
  keys: jax.Array | None = None  # [B, I * P, H], averaged over heads


@dataclasses.dataclass(frozen=True)
class Modules:
  """The linen modules of a family, by what they are made from.

  Attributes:
    tower: makes a module that is called with uint8 tiles [B, I, height, width,
      3], with their tile_grid, int32 [B, I, 2], see batch.Batch, and with
      `rate`, whether patches are rated too; it returns PatchFeatures.
    connector: makes a module that is called with features [B, I * P, D], with
      gather_index, int32 [B, V, K], of which I * P is the newline, and with
      gather_weight, float32 [B, V, K]; it returns visual tokens [B, V, width of
      the decoder].
  """

  tower: Callable[[sizes.Vision, compute_lib.Compute], nn.Module]
  connector: Callable[[sizes.Size, compute_lib.Compute], nn.Module]


def gather(
  features: jax.Array,
  newline: jax.Array,
  gather_index: jax.Array,
  gather_weight: jax.Array,
) -> jax.Array:
  """Visual tokens of the features of patches.

  Args:
    features: [B, I * P, D].
    newline: [D], what index I * P means.
    gather_index: int32 [B, V, K].
    gather_weight: float32 [B, V, K].

  Returns:
    [B, V, D].
  """
  newline = jnp.broadcast_to(newline, (features.shape[0], 1, newline.size))
  features = jnp.concatenate([features, newline], axis=1)
  weighted = (
    jnp.take_along_axis(features, gather_index[..., k, None], axis=1)
    * gather_weight[..., k, None].astype(features.dtype)
    for k in range(gather_index.shape[-1])
  )
  zero = jnp.zeros((), features.dtype)
  return sharding.constrain_slots(sum(weighted, start=zero))

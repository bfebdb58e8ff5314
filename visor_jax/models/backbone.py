"""What a model takes from its family: a vision tower and a connector.

Legend: B batch, I tiles, P patches of a tile, V visual slots, K patches summed
into one, D width, H head width.
"""

from collections.abc import Callable
import dataclasses
from typing import NamedTuple

from flax import linen as nn
import jax

from visor_jax.models import compute as compute_lib
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
      3] and with `rate`, whether patches are rated too; it returns
      PatchFeatures.
    connector: makes a module that is called with features [B, I * P, D], with
      gather_index, int32 [B, V, K], of which I * P is the newline, and with
      gather_weight, float32 [B, V, K]; it returns visual tokens [B, V, width of
      the decoder].
  """

  tower: Callable[[sizes.Vision, compute_lib.Compute], nn.Module]
  connector: Callable[[sizes.Size, compute_lib.Compute], nn.Module]

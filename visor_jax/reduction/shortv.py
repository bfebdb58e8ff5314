"""ShortV (arXiv 2504.00502): visual tokens stay as they are in some layers."""

import dataclasses

from visor_jax.reduction import method
from visor_jax.reduction import skips


@dataclasses.dataclass(frozen=True)
class ShortV(skips.OfLayers):
  """There they neither attend nor go through the MLP."""

  name = 'shortv'

  def visual_work(self, layer: int) -> method.VisualWork:
    work = layer not in self.skipped
    return method.VisualWork(work, work)

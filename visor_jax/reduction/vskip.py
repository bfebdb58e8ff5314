"""V-Skip (arXiv 2606.08511): visual tokens do not attend in some layers."""

import dataclasses

from visor_jax.reduction import method
from visor_jax.reduction import skips


@dataclasses.dataclass(frozen=True)
class VSkip(skips.OfLayers):
  """There they go through the MLP alone."""

  name = 'vskip'

  def visual_work(self, layer: int) -> method.VisualWork:
    return method.VisualWork(attention=layer not in self.skipped)

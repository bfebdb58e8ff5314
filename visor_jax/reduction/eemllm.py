"""EE-MLLM (arXiv 2408.11795): text reads images by the layers' own weights."""

import dataclasses

from visor_jax.reduction import method


@dataclasses.dataclass(frozen=True)
class EEMLLM(method.Reduction):
  """Visual tokens never attend; they go through every MLP but the last.

  Text attends to them and to text before it at once, as in any layer of the
  base, and no weight is added. A model is trained so: `model.reduce`.
  """

  name = 'eemllm'

  def base_alone(self, depth: int) -> bool:
    del depth
    return True

  def visual_work(self, layer: int) -> method.VisualWork:
    del layer
    return method.VisualWork(attention=False)

"""Images made smaller before the tower: the cheapest baseline of all.

It beats many papers where a question needs no detail (VTC-Bench, arXiv
2510.07143).
"""

import dataclasses

from visor_jax.reduction import method


@dataclasses.dataclass(frozen=True)
class Resize(method.Reduction):
  """An image's longer side has at most `side` pixels.

  It acts in the data, see data/processing/resized.py; here all tokens that are
  left go through all layers.
  """

  name = 'resize'
  side: int

  @property
  def longest_side(self) -> int:
    return self.side

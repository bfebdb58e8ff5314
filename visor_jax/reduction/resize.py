"""Images made smaller before the tower: the cheapest baseline of all.

It beats many papers where a question needs no detail (VTC-Bench, arXiv
2510.07143).
"""

import dataclasses
import typing

from visor_jax.reduction import method

if typing.TYPE_CHECKING:
  from visor_jax.data import protocols


@dataclasses.dataclass(frozen=True)
class Resize(method.Reduction):
  """An image's longer side has at most `side` pixels."""

  name = 'resize'
  in_data = True
  side: int

  @property
  def longest_side(self) -> int:
    return self.side

  def before_tower(
    self, processor: 'protocols.Processor'
  ) -> 'protocols.Processor':
    return processor.resized(self.side)

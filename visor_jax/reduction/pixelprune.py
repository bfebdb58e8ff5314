"""PixelPrune (arXiv 2604.00886): tiles that their neighbours foretell go."""

import dataclasses
import typing

from visor_jax.reduction import method

if typing.TYPE_CHECKING:
  from visor_jax.data import protocols


@dataclasses.dataclass(frozen=True)
class PixelPrune(method.Reduction):
  """To the pixel, before the tower, see families/pruned.py."""

  name = 'pixelprune'
  in_data = True

  def before_tower(
    self, processor: 'protocols.Processor'
  ) -> 'protocols.Processor':
    return processor.pruned()

"""DOP (arXiv 2507.02909): operations on visual tokens end at some depth.

Those of attention and those of the MLP each at their own. All visual tokens are
one group here.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

from visor_jax.reduction import method
from visor_jax.reduction import skips


@dataclasses.dataclass(frozen=True)
class DOP(skips.Skips):
  """From layer `attention` on they do not attend, from `mlp` on no MLP."""

  name = 'dop'
  attention: int
  mlp: int

  def layers(self, depth: int) -> tuple[int, ...]:
    if max(self.attention, self.mlp) > depth:
      raise ValueError(
        f'token reduction "{self}": a decoder has {depth} layers; that number '
        'stands for none that is skipped'
      )
    return ()

  def visual_work(self, layer: int) -> method.VisualWork:
    return method.VisualWork(layer < self.attention, layer < self.mlp)

  @classmethod
  def alone(cls, depth: int) -> 'Sequence[DOP]':
    return [
      setting
      for layer in range(1, depth + 1)
      for setting in (cls(layer, depth), cls(depth, layer))
    ]

  @classmethod
  def cheapest(cls, depth: int) -> 'DOP':
    return cls(1, 1)

  @classmethod
  def chosen(
    cls,
    divergence: Mapping[skips.Skips, float],
    cheap: Callable[[skips.Skips], bool],
    depth: int,
  ) -> 'DOP':
    """The pair whose divergences have the least sum; of equals the deepest."""

    def changed(setting: 'DOP') -> float:
      attention, mlp = cls(setting.attention, depth), cls(depth, setting.mlp)
      return divergence[attention] + divergence[mlp]

    layers = range(depth, 0, -1)
    pairs = [cls(attention, mlp) for attention in layers for mlp in layers]
    return min(filter(cheap, pairs), key=changed)

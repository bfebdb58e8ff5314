"""What methods share that keep every visual token, and work on it less often.

In a layer that is skipped text reads the visual tokens as ever; they themselves
do not attend, or do not go through the MLP, or neither. Which layers are missed
least is seen on questions before, see eval/skipping.py; in the grammar a share
asks for that.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import fractions

from visor_jax.reduction import method as method_lib


@dataclasses.dataclass(frozen=True)
class Skips(method_lib.Reduction):
  """A method at the layers that it skips; a subclass says what."""

  def base_alone(self, depth: int) -> bool:
    self.layers(depth)
    return True

  @classmethod
  def alone(cls, depth: int) -> Sequence['Skips']:
    """The parts of which a setting is put together, each on its own."""
    raise NotImplementedError

  @classmethod
  def cheapest(cls, depth: int) -> 'Skips':
    """The setting that skips most."""
    raise NotImplementedError

  @classmethod
  def chosen(
    cls,
    divergence: Mapping['Skips', float],
    cheap: Callable[['Skips'], bool],
    depth: int,
  ) -> 'Skips':
    """The setting that changes least what the model says.

    Args:
      divergence: what each of `alone` changes.
      cheap: whether a setting costs no more than it may; `cheapest` does.
      depth: layers.
    """
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class OfLayers(Skips):
  """One that skips the same in each of some layers."""

  skipped: tuple[int, ...]

  def layers(self, depth: int) -> tuple[int, ...]:
    if self.skipped[-1] >= depth:
      raise ValueError(
        f'token reduction "{self}": a decoder of {depth} layers has layers 0 '
        f'to {depth - 1}'
      )
    return ()

  @classmethod
  def alone(cls, depth: int) -> 'Sequence[OfLayers]':
    return [cls((layer,)) for layer in range(depth)]

  @classmethod
  def cheapest(cls, depth: int) -> 'OfLayers':
    return cls(tuple(range(depth)))

  @classmethod
  def chosen(
    cls,
    divergence: Mapping[Skips, float],
    cheap: Callable[[Skips], bool],
    depth: int,
  ) -> 'OfLayers':
    """Those that are missed least, no more than it takes."""
    parts = sorted(cls.alone(depth), key=lambda part: divergence[part])
    layers = [layer for part in parts for layer in part.skipped]
    settings = (cls(tuple(sorted(layers[: n + 1]))) for n in range(depth))
    return next(filter(cheap, settings))


@dataclasses.dataclass(frozen=True)
class Search(method_lib.Reduction):
  """A method whose layers are still to be found.

  Attributes:
    method: what it skips.
    share: of the base's LLM prefill FLOPs that it may take.
  """

  method: type[Skips]
  share: fractions.Fraction

  def base_alone(self, depth: int) -> bool:
    return True

  def __str__(self) -> str:
    return f'{self.method.name}:{method_lib.written(self.share)}'

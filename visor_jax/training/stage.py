"""A training stage as a record that the loop reads."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from visor_jax.runtime import param_paths
from visor_jax.training import feeds
from visor_jax.training import losses


@dataclasses.dataclass(frozen=True)
class Stage:
  """What a training stage is.

  Attributes:
    name: also its folder in the workdir and its keys in the config.
    trains: ((pattern of parameter paths, bool), ...), first match counts.
    loss: makes what it minimizes.
    feed: what it learns from.
    starts_from: the stages whose result it starts from: the first that was
      trained; empty for a fresh start.
    needs: jobs that must have run before it, beside those.
    plan: which plan runs at a step, unless its config key says otherwise.
    grafts: CROSS weights that have not learned start here, see
      `model.cross.init`.
    passes: that a step makes through vision and connector, and through the
      decoder: 3 with all gradients, 2 where they only pass through, 1 forward
      only. None where no formula says what a pass costs.
    keys: config keys that it has beside those of every stage, with their
      defaults, or other defaults of those.

  Raises:
    TypeError: the loss or the feed is none.
  """

  name: str
  trains: param_paths.Patterns[bool]
  loss: losses.MakeLoss = losses.answer
  feed: feeds.Feed = feeds.CONVERSATIONS
  starts_from: tuple[str, ...] = ()
  needs: tuple[str, ...] = ()
  plan: str = 'max'
  grafts: bool = False
  passes: tuple[int, int] | None = (3, 3)
  keys: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    if not callable(self.loss):
      raise TypeError(
        f'stage {self.name}: its loss is {self.loss!r}, expected a function '
        'as training.losses has them'
      )
    if not isinstance(self.feed, feeds.Feed):
      raise TypeError(
        f'stage {self.name}: its feed is {self.feed!r}, expected a '
        'training.feeds.Feed'
      )

  @property
  def dense(self) -> bool:
    """Whether it trains the base model, which runs no other plan."""
    return self.plan == 'base'

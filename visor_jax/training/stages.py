"""The training stages: records that one loop reads.

base, cross, full, universal and policy differ in what trains, what the loss
is and what they start from; which plan runs at a step is a key of the config.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Stage:
  """What a training stage is.

  Attributes:
    name: also its folder in the workdir and its keys in the config.
    trains: ((pattern of parameter paths, bool), ...), first match counts.
    loss: 'answer', cross-entropy of answer tokens, or 'policy', of the labels.
    starts_from: the stages whose result it starts from: the first that was
      trained; empty for a fresh start.
    grafts: CROSS weights start here (see `model.cross.init`).
    passes: that a step makes through vision and connector, and through the
      decoder: 3 with all gradients, 2 where they only pass through, 1 forward
      only. None where no formula says what a pass costs.
  """

  name: str
  trains: tuple[tuple[str, bool], ...]
  loss: str = 'answer'
  starts_from: tuple[str, ...] = ()
  grafts: bool = False
  passes: tuple[int, int] | None = (3, 3)


_ROUTER = ('router/.*', False)
_CROSS = 'llm/cross/.*'

STAGES = {
  s.name: s
  for s in (
    Stage('base', ((_CROSS, False), _ROUTER, ('.*', True))),
    Stage(
      'cross',
      ((_CROSS, True), ('.*', False)),
      grafts=True,
      starts_from=('base',),
      passes=(1, 2),
    ),
    Stage('full', (_ROUTER, ('.*', True)), starts_from=('cross', 'base')),
    Stage(
      'universal',
      (_ROUTER, ('.*', True)),
      starts_from=('full', 'cross', 'base'),
    ),
    Stage(
      'policy',
      (('router/.*', True), ('.*', False)),
      loss='policy',
      starts_from=('universal', 'full'),
      passes=None,
    ),
  )
}

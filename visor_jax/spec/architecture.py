"""What a model is: everything that its parameters do not say themselves.

A checkpoint carries its Architecture, and whoever starts from it, asks it,
evaluates it or exports it reads that and nothing else. How a model is computed
(precision, kernels, remat) is no part of it: see models/compute.py.

Plain Python: model, accounting, checkpoints and commands all speak of it.
"""

import dataclasses
from typing import Any

from visor_jax.families import table as families
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes

KEY_HEADS = ('base', 'full')
ROUTER_TOKENS = ('learned', 'last', 'visual')


def _one_of(key: str, value: str, known: tuple[str, ...]) -> None:
  if value not in known:
    raise ValueError(f'{key} is {value!r}, not one of {known}')


@dataclasses.dataclass(frozen=True)
class CrossOptions:
  """The CROSS layers: open questions of the paper, keys under `model.cross`.

  Attributes:
    module: a name in models.cross_attention.CROSS.
    key_heads: 'base' for as many as the base has, 'full' for one a query head.
    norm: RMSNorm on text and on visual tokens going in.
    rope: rotary positions in cross attention.
    conv: positional convolution on what becomes keys and values.
  """

  module: str = 'attention'
  key_heads: str = 'base'
  norm: bool = True
  rope: bool = False
  conv: bool = True

  def __post_init__(self):
    _one_of('model.cross.key_heads', self.key_heads, KEY_HEADS)


@dataclasses.dataclass(frozen=True)
class RouterOptions:
  """The router: open questions of the paper, keys under `model.router`.

  Attributes:
    token: what it reads of a prompt: a 'learned' routing token, the 'last' text
      token, or the mean of the 'visual' ones.
    hidden: width of its MLP.
    plans: width of its output, the most plans that can be viable.
  """

  token: str = 'learned'
  hidden: int = 128
  plans: int = 9

  def __post_init__(self):
    _one_of('model.router.token', self.token, ROUTER_TOKENS)


@dataclasses.dataclass(frozen=True)
class Architecture:
  """A model, but for its weights.

  Attributes:
    size: widths and depths of the base model.
    layout: the kind of every decoder layer; every one SELF is the base model.
    cross: the CROSS layers.
    router: the router.
    last_visual: the last SELF layer refines an image that nobody reads any
      more; False saves that work.
    reduction: of visual tokens, trained with, in the grammar of
      reduction/grammar.py; '' for none.
    family: of the base model, a name in families/table.py.
  """

  size: sizes.Size
  layout: plans.Layout
  cross: CrossOptions = CrossOptions()
  router: RouterOptions = RouterOptions()
  last_visual: bool = True
  reduction: str = ''
  family: str = families.DEFAULT

  def __post_init__(self):
    if len(self.layout.kinds) != self.depth:
      raise ValueError(
        f'the layout has {len(self.layout.kinds)} layers, the size {self.depth}'
      )

  @property
  def depth(self) -> int:
    """Decoder layers."""
    return self.size.language.depth

  @property
  def before_self(self) -> int:
    """Layers in front of the first optional SELF layer: the router's."""
    return min(self.layout.optional, default=self.depth)

  @property
  def base(self) -> 'Architecture':
    """The dense model with the same weights."""
    return dataclasses.replace(
      self, layout=plans.base(self.depth), reduction=''
    )

  def layout_of(self, plan: plans.Plan | None) -> plans.Layout:
    """The layers that run under a plan, None for the base; none optional."""
    return plans.base(self.depth) if plan is None else self.layout.fix(plan)

  def last_self(self, layout: plans.Layout) -> int:
    """The SELF layer that leaves the image as it was; -1 for none."""
    return -1 if self.last_visual else layout.last_self

  def to_json(self) -> dict[str, Any]:
    """Plain values, for a file beside the weights."""
    return dataclasses.asdict(self)


def from_json(values: dict[str, Any]) -> Architecture:
  """The Architecture that `to_json` and JSON have been through."""
  layout = values['layout']
  return Architecture(
    size=sizes.from_json(values['size']),
    layout=plans.Layout(tuple(layout['kinds']), tuple(layout['optional'])),
    cross=CrossOptions(**values['cross']),
    router=RouterOptions(**values['router']),
    last_visual=values['last_visual'],
    reduction=values['reduction'],
    family=values['family'],
  )

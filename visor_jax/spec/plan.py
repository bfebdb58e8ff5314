"""Layer kinds and plans: which layers exist, and which of them run.

A `Layout` gives every decoder layer a kind. TEXT layers never touch the image,
CROSS layers let the text read it, SELF layers refine text and image together
and are exactly the base model's layers. A plan is a tuple of booleans, one for
each optional SELF layer: does it run? One that is off runs as a TEXT layer.

The grammar of `parse`, used by every command:

  base     the dense base model: every layer SELF, no CROSS
  max      every optional SELF layer runs
  min      none of them runs
  router   the router chooses for each sample
  router@0.3    it spends this share of max's LLM prefill FLOPs on average
  router@0.6total    likewise of its FLOPs end to end: tower, prefill, decoding
  router-0.01   it loses at most this share of max's accuracy on average
  all      every viable plan
  0,3,5    these optional SELF layers run, counted from 0 in order of depth
  a+b      the selections of a, then those of b
"""

from collections.abc import Collection
from collections.abc import Sequence
import dataclasses
import hashlib
import itertools
import re

from visor_jax.spec import shares

TEXT, CROSS, SELF = 'text', 'cross', 'self'

Plan = tuple[bool, ...]


@dataclasses.dataclass(frozen=True)
class Layout:
  """The kind of every layer and the SELF layers that a plan may switch off."""

  kinds: tuple[str, ...]
  optional: tuple[int, ...] = ()

  def __post_init__(self):
    if list(self.optional) != sorted(set(self.optional)) or (
      min(self.optional, default=0) < 0
    ):
      raise ValueError(
        f'optional layers {self.optional} are not in order of depth'
      )
    for layer in self.optional:
      if self.kinds[layer] != SELF:
        raise ValueError(
          f'optional layer {layer} is {self.kinds[layer]}, not {SELF}'
        )

  def indices(self, kind: str) -> tuple[int, ...]:
    return tuple(i for i, k in enumerate(self.kinds) if k == kind)

  @property
  def last_self(self) -> int:
    """The SELF layer after which no layer reads the image; -1 for none."""
    readers = [i for i, kind in enumerate(self.kinds) if kind != TEXT]
    last = readers[-1] if readers else -1
    return last if last >= 0 and self.kinds[last] == SELF else -1

  @property
  def max(self) -> Plan:
    return (True,) * len(self.optional)

  @property
  def min(self) -> Plan:
    return (False,) * len(self.optional)

  @property
  def plans(self) -> tuple[Plan, ...]:
    """All 2**n plans, those with fewer SELF layers first."""
    every = itertools.product((False, True), repeat=len(self.optional))
    return tuple(sorted(every, key=lambda p: (sum(p), [not on for on in p])))

  def fix(self, plan: Plan) -> 'Layout':
    """The layout in which the plan is a fact: nothing is optional any more."""
    self.check(plan)
    off = {l for l, on in zip(self.optional, plan) if not on}
    return Layout(
      tuple(TEXT if i in off else k for i, k in enumerate(self.kinds))
    )

  def check(self, plan: Plan) -> None:
    if len(plan) != len(self.optional):
      raise ValueError(
        f'plan {name(plan)} speaks of {len(plan)} optional SELF layers, the '
        f'model has {len(self.optional)} (layers {self.optional})'
      )


def base(depth: int) -> Layout:
  """The dense base model."""
  return Layout((SELF,) * depth)


def visor(
  depth: int,
  cross: Sequence[int] | None = None,
  self_: Sequence[int] | None = None,
) -> Layout:
  """The VISOR layout; by default TEXT, CROSS, SELF repeated, the rest TEXT.

  Args:
    depth: number of decoder layers.
    cross: indices of the CROSS layers, or None for the default.
    self_: indices of the (optional) SELF layers, or None for the default.

  Raises:
    ValueError: a layer is out of range or has two kinds.
  """
  third = depth // 3
  cross = tuple(range(1, 3 * third, 3)) if cross is None else tuple(cross)
  self_ = tuple(range(2, 3 * third, 3)) if self_ is None else tuple(self_)
  kinds = [TEXT] * depth
  for kind, layers in ((CROSS, cross), (SELF, self_)):
    for layer in layers:
      if not 0 <= layer < depth:
        raise ValueError(
          f'model.{kind}_layers names layer {layer}; the size has layers 0 '
          f'to {depth - 1}'
        )
      if kinds[layer] != TEXT:
        raise ValueError(
          f'layer {layer} is named twice in model.cross_layers and '
          'model.self_layers; a layer has one kind'
        )
      kinds[layer] = kind
  return Layout(tuple(kinds), tuple(sorted(self_)))


@dataclasses.dataclass(frozen=True)
class Repeat:
  """`count` repetitions of `period` layers, from layer `start` on."""

  start: int
  period: int
  count: int


def repeats(
  layout: Layout, start: int, stop: int, works: Sequence[object] = ()
) -> tuple[Repeat, ...]:
  """Cuts layers start..stop into repeats, so that the program stays small.

  The longest periodic stretch becomes one scan; layers before and after it
  stand alone (period 1, count 1). Any depth and any choice of kinds works.

  Args:
    layout: kinds of the layers.
    start: first layer.
    stop: one past the last layer.
    works: of each layer, what else tells it apart; () for nothing.
  """
  signatures = [
    (kind, layer in layout.optional, *works[layer : layer + 1])
    for layer, kind in enumerate(layout.kinds)
  ]
  best = None  # (number of layers written out, Repeat)
  for begin in range(start, stop):
    for period in range(1, (stop - begin) // 2 + 1):
      end = begin + period
      while end < stop and signatures[end] == signatures[end - period]:
        end += 1
      count = (end - begin) // period
      written = (stop - start) - period * (count - 1)
      if count > 1 and (best is None or written < best[0]):
        best = written, Repeat(begin, period, count)
  if best is None:
    return _alone(start, stop)
  body = best[1]
  end = body.start + body.period * body.count
  return _alone(start, body.start) + (body,) + _alone(end, stop)


def _alone(start: int, stop: int) -> tuple[Repeat, ...]:
  """Layers start..stop, each a repeat of its own."""
  return tuple(Repeat(i, 1, 1) for i in range(start, stop))


@dataclasses.dataclass(frozen=True)
class Selection:
  """Who decides: 'fixed' (a plan), 'router' (a budget or a drop), or 'base'."""

  selector: str
  plan: Plan | None = None
  budget: float | None = None
  drop: float | None = None
  budget_of: str = shares.PREFILL

  def __str__(self):
    if self.budget is not None:
      of = self.budget_of.removeprefix(shares.PREFILL)
      return f'{self.selector}@{self.budget:g}{of}'
    if self.drop is not None:
      return f'{self.selector}-{self.drop:g}'
    return name(self.plan) if self.selector == 'fixed' else self.selector


def name(plan: Plan) -> str:
  """How a plan is written in the grammar: 'min', 'max' or '0,2'."""
  if not any(plan):
    return 'min'
  if all(plan):
    return 'max'
  return ','.join(str(i) for i, on in enumerate(plan) if on)


def parse(
  text: str, layout: Layout, viable: Collection[Plan] | None = None
) -> tuple[Selection, ...]:
  """Reads the grammar in this module's docstring.

  Args:
    text: what the user wrote.
    layout: the VISOR layout that the positions refer to.
    viable: the viable plans, for `all`; None means that there are none yet.

  Raises:
    ValueError: naming what is wrong and what can be written.
  """
  selections = []
  for word in text.split('+'):
    word = word.strip()
    if word in ('base', 'router'):
      selections.append(Selection(word))
    elif word.startswith(('router@', 'router-')):
      selections.append(_target(word))
    elif word in ('max', 'min'):
      selections.append(Selection('fixed', getattr(layout, word)))
    elif word == 'all':
      if not viable:
        raise ValueError(
          'plan "all" means every viable plan; run the search stage first'
        )
      for p in viable:
        layout.check(tuple(p))
        selections.append(Selection('fixed', tuple(p)))
    else:
      selections.append(Selection('fixed', _positions(word, layout)))
  return tuple(dict.fromkeys(selections))


def asked(text: str, layout: Layout) -> tuple[Selection, ...]:
  """`parse` before the search, when of `all` only two are known to be viable.

  Args:
    text: what the user wrote.
    layout: the VISOR layout that the positions refer to.

  Raises:
    ValueError: as of `parse`.
  """
  return parse(text, layout, viable=(layout.min, layout.max))


def _target(word: str) -> Selection:
  """A router with a target: 'router@0.3', 'router@0.6total', 'router-0.01'."""
  match = re.fullmatch(r'router([@-])(\d*\.?\d+)(|total)', word)
  kind, number, of = match.groups() if match else ('', '0', '')
  share = float(number)
  if kind == '@' and 0 < share <= shares.MOST:
    return Selection('router', budget=share, budget_of=of or shares.PREFILL)
  if kind == '-' and 0 <= share <= 1 and not of:
    return Selection('router', drop=share)
  raise ValueError(
    f'plan "{word}": expected router@0.3, a budget above 0 and at most '
    f"{shares.MOST} as a share of max's LLM prefill FLOPs, router@0.6total, of "
    "its FLOPs end to end, or router-0.01, a share of max's accuracy, from 0 "
    'to 1, that may be lost'
  )


def _positions(word: str, layout: Layout) -> Plan:
  count = len(layout.optional)
  try:
    on = [int(n) for n in word.split(',')]
  except ValueError:
    raise ValueError(
      f'plan "{word}" is none of base, max, min, router, all, or positions '
      f'like 0,1 among the {count} optional SELF layers'
    ) from None
  for n in on:
    if not 0 <= n < count:
      raise ValueError(
        f'plan "{word}" names optional SELF layer {n}; the model has '
        f'{count}, counted from 0'
      )
  return tuple(i in on for i in range(count))


def plan_at(
  seed: int, step: int, viable: Collection[Plan], max_share: float
) -> Plan:
  """The plan of one training step: a pure function of (seed, step).

  Args:
    seed: of the run.
    step: number of the step.
    viable: plans to draw from, one of them the largest.
    max_share: with this probability the largest; else any, all alike.
  """
  digest = hashlib.sha256(f'plan/{seed}/{step}'.encode()).digest()
  u = int.from_bytes(digest[:8], 'big') / 2**64
  viable = sorted(viable, key=lambda p: (sum(p), p))
  if u < max_share:
    return tuple(viable[-1])
  return tuple(viable[int((u - max_share) / (1 - max_share) * len(viable))])

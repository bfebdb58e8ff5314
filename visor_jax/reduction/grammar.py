"""Token reduction: the rivals, and what may run on top of VISOR.

The grammar of `parse`, in the config's `model.reduce` and `eval.reduce`:

  visionzip:0.25     before the decoder a quarter of the visual tokens is kept:
                     those that attention looks at, and averages of the rest
  vispruner:1/9      those that attention looks at, and different ones
  pack:2             two neighbours become one token, their average
  m3:4               4 x 4 patches become one token, their average
  fastv:2:0.5        from layer 2 on, half of them: what the prompt looks at
  pyramiddrop:0.5    the same at a quarter, half and three quarters of the
                     depth: half of what is left each time
  visionzip-64 ...   settings as published, see PUBLISHED
  a+b                several: a training step minimises the mean of their losses

A share is a decimal or a fraction. The first four change what the decoder gets
and go with every plan; the last two split the dense decoder: plan base.

Plain Python: config, model and accounting all speak of it.
"""

import dataclasses
import fractions
import functools

EARLY, LATE = ('visionzip', 'vispruner', 'pack', 'm3'), ('fastv', 'pyramiddrop')
METHODS = EARLY + LATE

# Papers name counts of LLaVA-1.5's 576 tokens (24 x 24 patches).
PUBLISHED = {
  **{f'visionzip-{n}': f'visionzip:{n}/576' for n in (64, 128, 192)},
  **{f'vispruner-{n}': f'vispruner:{n}/576' for n in (32, 64, 128, 192)},
  **{f'm3-{(24 // w) ** 2}': f'm3:{w}' for w in (1, 2, 4, 8, 24)},
  'fastv': 'fastv:2:0.5',
  'pyramiddrop': 'pyramiddrop:0.5',
}


@dataclasses.dataclass(frozen=True)
class Cut:
  """Visual tokens dropped inside the decoder.

  Attributes:
    rate: the layer whose attention rates them, as it meets them.
    drop: the first layer that sees only those kept.
    keep: share of those there.
  """

  rate: int
  drop: int
  keep: fractions.Fraction


@dataclasses.dataclass(frozen=True)
class Reduction:
  """One method at one setting.

  Attributes:
    method: a name in METHODS.
    keep: share of visual tokens that is kept; of pyramiddrop at every cut.
    window: of pack, tokens in a row; of m3, patches on a side.
    layer: of fastv, the first that sees fewer.
  """

  method: str
  keep: fractions.Fraction = fractions.Fraction(1)
  window: int = 1
  layer: int = 0

  def __str__(self):
    """As the grammar has it."""
    if self.method in ('pack', 'm3'):
      return f'{self.method}:{self.window}'
    decimal = f'{float(self.keep):g}'
    share = decimal if fractions.Fraction(decimal) == self.keep else self.keep
    layer = f'{self.layer}:' if self.method == 'fastv' else ''
    return f'{self.method}:{layer}{share}'

  @property
  def early(self) -> bool:
    """Before the decoder, which then gets fewer visual tokens."""
    return self.method in EARLY

  @property
  def rated(self) -> bool:
    """Attention in the vision tower is asked."""
    return self.method in ('visionzip', 'vispruner')

  def slots(self, visual: int, tiles: int, grid: tuple[int, int]) -> int:
    """How many visual slots an early method makes of a row's.

    Args:
      visual: slots.
      tiles: of the row.
      grid: rows and columns of patches in a tile.
    """
    if self.method == 'm3':
      rows, columns = (-(-side // self.window) for side in grid)
      return min(visual, tiles * rows * columns)
    if self.method == 'pack':
      return share(visual, fractions.Fraction(1, self.window))
    return share(visual, self.keep)

  def cuts(self, depth: int) -> tuple[Cut, ...]:
    """Of a late method, in a decoder of so many layers.

    Raises:
      ValueError: the decoder has no such layer.
    """
    if self.early:
      return ()
    if self.method == 'pyramiddrop':
      return tuple(
        Cut(at, at, self.keep)
        for at in dict.fromkeys(quarter * depth // 4 for quarter in (1, 2, 3))
      )
    if not 0 < self.layer < depth:
      raise ValueError(
        f'token reduction "{self}": a decoder of {depth} layers '
        f'can drop tokens at layers 1 to {depth - 1}'
      )
    return (Cut(self.layer - 1, self.layer, self.keep),)


def share(visual: int, keep: fractions.Fraction) -> int:
  """Slots for a share of a row's visual slots: rounded down, but one."""
  return max(1, visual * keep.numerator // keep.denominator)


def parse(text: str) -> tuple[Reduction, ...]:
  """Reads the grammar in this module's docstring; '' is ().

  Raises:
    ValueError: naming what is wrong and what can be written.
  """
  words = filter(None, (word.strip() for word in text.split('+')))
  return tuple(dict.fromkeys(map(_one, words)))


@functools.lru_cache(maxsize=None)
def single(text: str) -> Reduction | None:
  """The one reduction that a text names; None for ''.

  Raises:
    ValueError: it names several, or what `parse` raises.
  """
  reductions = parse(text)
  if len(reductions) > 1:
    raise ValueError(
      f'token reduction "{text}" names {len(reductions)}; a model has one'
    )
  return reductions[0] if reductions else None


def _one(word: str) -> Reduction:
  method, *numbers = PUBLISHED.get(word, word).split(':')
  wrong = lambda why: ValueError(f'token reduction "{word}": {why}')
  if method not in METHODS:
    raise wrong(
      f'expected one of {", ".join(METHODS)} with its numbers, as '
      f'"visionzip:0.25", or one of {", ".join(PUBLISHED)}'
    )
  wanted = 2 if method == 'fastv' else 1
  if len(numbers) != wanted:
    raise wrong(
      'expected "fastv:LAYER:SHARE"'
      if wanted == 2
      else f'expected "{method}:" and one number'
    )
  if method in ('pack', 'm3'):
    return Reduction(method, window=_count(numbers[0], wrong))
  try:
    keep = fractions.Fraction(numbers[-1])
  except (ValueError, ZeroDivisionError):
    keep = fractions.Fraction(0)
  # On the device a share is a product of integers, which has to fit.
  if not 0 < keep <= 1 or keep.denominator > 10_000:
    raise wrong(
      f'{numbers[-1]} is no share, as 0.25 or 1/9, above 0 and at '
      'most 1, of four digits'
    )
  if method == 'fastv':
    return Reduction(method, keep, layer=_count(numbers[0], wrong))
  return Reduction(method, keep)


def _count(text, wrong):
  if not (text.isdecimal() and int(text)):
    raise wrong(f'{text!r} is no whole number above 0')
  return int(text)

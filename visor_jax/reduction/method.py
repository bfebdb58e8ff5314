"""What a token reduction is: its numbers, its hooks and its cost.

A method is one file with one class, a `Reduction`, and one line in table.py.
It may work before the decoder, between the decoder's layers, or both, or ask
for smaller images; a hook that it leaves out changes nothing.

Accounting and configs speak of methods where there is no jax: a hook imports
it when it runs.

Legend: B batch, V visual slots, V' those that stay, D width, H head width, K
patches averaged into a slot, I tiles, P patches of a tile.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import fractions
import itertools
import typing
from typing import ClassVar
from typing import NamedTuple

from visor_jax.spec import sizes

if typing.TYPE_CHECKING:
  import jax

  from visor_jax.data import protocols
  from visor_jax.models import positions


@dataclasses.dataclass(frozen=True)
class VisualTokens:
  """What a method makes fewer.

  Attributes:
    visual: [B, V, D].
    token_layout: where text and visual tokens stand.
    text: [B, T, D], as the decoder gets it; None between layers.
  """

  visual: 'jax.Array'
  token_layout: 'positions.TokenLayout'
  text: 'jax.Array | None' = None


@dataclasses.dataclass(frozen=True)
class Patches:
  """Where visual tokens come from, and what the vision tower says of that.

  Attributes:
    index: int32 [B, V, K], the patches of a slot; I * P is the newline.
    weight: float32 [B, V, K].
    tiles: I, of a row.
    grid: rows and columns of patches in a tile.
    attention: float32 [B, I * P], how much a patch gets of the other patches of
      its tile; None where the method does not ask for it.
    keys: [B, I * P, H], of the tower's last layer, averaged over heads; None as
      above.
  """

  index: 'jax.Array'
  weight: 'jax.Array'
  tiles: int
  grid: tuple[int, int]
  attention: 'jax.Array | None' = None
  keys: 'jax.Array | None' = None


@dataclasses.dataclass(frozen=True)
class Row:
  """What accounting knows of a row.

  Attributes:
    size: widths and depths of the model.
    visual: visual slots before any reduction, at least 1.
    text: text slots.
    tiles: tiles of the image, at least 1.
    prompts: prompts whose last token may rate visual tokens in the decoder.
  """

  size: sizes.Size
  visual: int
  text: int
  tiles: int
  prompts: int = 1


class VisualWork(NamedTuple):
  """What a layer that sees visual tokens does to them; text reads them anyway.

  Attributes:
    attention: they attend.
    mlp: they go through its MLP.
  """

  attention: bool = True
  mlp: bool = True


UNTOUCHED = VisualWork(attention=False, mlp=False)

# Layer -> float32 [B, V]: how much of the attention of a prompt's last token,
# or of the token layout's raters, a visual token gets in that layer, one of
# `Reduction.layers` that was reached.
Rate = Callable[[int], 'jax.Array']


@dataclasses.dataclass(frozen=True)
class Reduction:
  """A method at one setting; this one keeps every token.

  The fields of a subclass are its numbers in the grammar, in that order: a
  fractions.Fraction is a share, an int a count, a tuple[int, ...] layers, a
  tuple[fractions.Fraction, ...] a share for each.

  Attributes:
    name: in the grammar.
    published: settings as papers name them, and what they stand for.
    rates_patches: the vision tower is asked for `Patches.attention` and `keys`.
    in_data: it acts on images, before the tower.
    reads_question: which tokens the decoder gets depends on the text.
  """

  name: ClassVar[str] = ''
  published: ClassVar[Mapping[str, str]] = {}
  rates_patches: ClassVar[bool] = False
  in_data: ClassVar[bool] = False
  reads_question: ClassVar[bool] = False

  def __str__(self) -> str:
    """As the grammar has it."""
    values = [getattr(self, f.name) for f in dataclasses.fields(self)]
    return ':'.join([self.name, *map(written, values)])

  # Before the tower.

  @property
  def longest_side(self) -> int:
    """Pixels that the longer side of an image has at most; 0 for any."""
    return 0

  def before_tower(
    self, processor: 'protocols.Processor'
  ) -> 'protocols.Processor':
    """What makes tiles of images, where a method is `in_data`.

    Args:
      processor: the checkpoint's.

    Raises:
      ValueError: that one's tiles cannot be made so.
    """
    return processor

  # Before the decoder.

  def slots(self, visual: int, tiles: int, grid: tuple[int, int]) -> int:
    """How many visual slots the decoder gets of a row's.

    Args:
      visual: slots.
      tiles: of the row.
      grid: rows and columns of patches in a tile.
    """
    del tiles, grid
    return visual

  def before_decoder(
    self, tokens: VisualTokens, patches: Patches
  ) -> VisualTokens:
    """The visual tokens that the decoder gets: V' = `slots` of V.

    Goes with every plan.
    """
    del patches
    return tokens

  # Between layers.

  def layers(self, depth: int) -> tuple[int, ...]:
    """Layers before which `between_layers` is called, rising.

    Raises:
      ValueError: a decoder of that depth has no such layer.
    """
    del depth
    return ()

  def base_alone(self, depth: int) -> bool:
    """Whether it goes with plan base alone: it changes the dense decoder.

    Raises:
      ValueError: as of `layers`.
    """
    return bool(self.layers(depth))

  def between_layers(
    self, layer: int, tokens: VisualTokens, rate: Rate
  ) -> VisualTokens:
    """The visual tokens that `layer` gets of those that reach it.

    Args:
      layer: one of `layers`.
      tokens: as they flow into it.
      rate: the attention of this layer, or of one of `layers` before it.
    """
    del layer, rate
    return tokens

  # In layers.

  def visual_work(self, layer: int) -> VisualWork:
    """What a layer does to visual tokens."""
    del layer
    return VisualWork()

  # Cost.

  def tokens_of_layer(self, row: Row) -> list[int]:
    """Visual slots that each decoder layer gets."""
    visual = self.slots(row.visual, row.tiles, row.size.vision.grid)
    return [visual] * row.size.language.depth

  def rating_macs(self, row: Row) -> int:
    """Multiply-adds of choosing, of products that no accounting halves."""
    del row
    return 0


@dataclasses.dataclass(frozen=True)
class ShareOfImage(Reduction):
  """A method that keeps a share of an image before the decoder."""

  share: fractions.Fraction

  def slots(self, visual: int, tiles: int, grid: tuple[int, int]) -> int:
    """As of `Reduction.slots`.

    Raises:
      ValueError: none is left, so that no layer would see the image.
    """
    del tiles, grid
    slots = share_of(visual, self.share)
    if not slots:
      raise ValueError(
        f'token reduction "{self}" leaves none of {visual} visual tokens, and '
        'the question would be asked without its image; a share of '
        f'1/{visual} leaves one'
      )
    return slots


def slots_for(visual: int, share: fractions.Fraction) -> int:
  """Slots for a share of a row's visual slots: rounded down, but one."""
  return max(1, share_of(visual, share))


def share_of(number: int, share: fractions.Fraction) -> int:
  """A share of a number, rounded down."""
  return number * share.numerator // share.denominator


def rate_macs(row: Row, visual: int) -> int:
  """Multiply-adds of one call of `Rate`, with so many visual slots left.

  Queries of the prompts' last tokens, keys of all, and their products.
  """
  language = row.size.language
  width, head_width = language.width, language.head_width
  queries = row.prompts * width * language.heads * head_width
  keys = width * language.key_heads * head_width
  products = row.prompts * language.heads * head_width
  return queries + (row.text + visual) * (keys + products)


def written(
  number: int | fractions.Fraction | tuple[int | fractions.Fraction, ...],
) -> str:
  """A decimal where it is exact, else a fraction; layers as 2,5-7."""
  if isinstance(number, int):
    return str(number)
  if isinstance(number, tuple):
    if isinstance(number[0], fractions.Fraction):
      return ','.join(map(written, number))
    # Layers that follow one another are as far ahead of their places.
    runs = itertools.groupby(enumerate(number), lambda pair: pair[1] - pair[0])
    ends = [[layer for _, layer in run] for _, run in runs]
    return ','.join(
      f'{run[0]}-{run[-1]}' if run[1:] else str(run[0]) for run in ends
    )
  decimal = f'{float(number):g}'
  return decimal if fractions.Fraction(decimal) == number else str(number)

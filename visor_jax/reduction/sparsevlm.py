"""SparseVLM (arXiv 2410.04417): what the words that matter look at.

Behind some layers visual tokens are rated by the attention that they get of the
words of the question that are like the image. The best stay, the best of the
others are averaged in clusters, the rest is dropped.

Legend: B batch, T text, V visual, D width, R room for what is averaged.
"""

import dataclasses
import fractions
import typing

from visor_jax.reduction import method

if typing.TYPE_CHECKING:
  import jax

  from visor_jax.models import positions

RECYCLED = fractions.Fraction(3, 10)  # of the tokens that do not stay
AVERAGES = fractions.Fraction(3, 100)  # a tenth of those


@dataclasses.dataclass(frozen=True)
class SparseVLM(method.Reduction):
  """A share of what is left of a conversation stays behind each layer.

  How many is said, as in the authors' code; the paper's text has it by rank.
  """

  name = 'sparsevlm'
  # Of 576 tokens 300, then 200, then 110 stay, besides the averages: 192 in the
  # mean of LLaVA-1.5's layers; and so on.
  published = {
    'sparsevlm-192': 'sparsevlm:2,6,15:300/576,200/308,110/203',
    'sparsevlm-128': 'sparsevlm:2,6,15:303/576,110/311,36/116',
    'sparsevlm-64': 'sparsevlm:2,6,15:66/576,30/81,17/31',
  }
  behind: tuple[int, ...]
  shares: tuple[fractions.Fraction, ...]

  def __post_init__(self) -> None:
    if len(self.behind) != len(self.shares):
      raise ValueError(
        f'{len(self.behind)} layers and {len(self.shares)} shares; each layer '
        'has one, as "sparsevlm:2,6,15:0.5,0.6,0.5"'
      )

  @property
  def _drops(self) -> dict[int, fractions.Fraction]:
    """{layer: the share that stays behind it}."""
    return dict(zip(self.behind, self.shares))

  def layers(self, depth: int) -> tuple[int, ...]:
    if self.behind[-1] >= depth - 1:
      raise ValueError(
        f'token reduction "{self}": a decoder of {depth} layers '
        f'can drop tokens behind layers 0 to {depth - 2}'
      )
    # A layer rates what reaches it, and the next one gets what stays.
    return tuple(sorted({at + i for at in self.behind for i in (0, 1)}))

  def before_decoder(
    self, tokens: method.VisualTokens, patches: method.Patches
  ) -> method.VisualTokens:
    """Every token; says which words will rate."""
    layout = tokens.token_layout._replace(raters=_raters(tokens))
    return dataclasses.replace(tokens, token_layout=layout)

  def between_layers(
    self, layer: int, tokens: method.VisualTokens, rate: method.Rate
  ) -> method.VisualTokens:
    share = self._drops.get(layer - 1)
    if share is None:
      return tokens
    import jax.numpy as jnp

    from visor_jax.reduction import groups

    take = jnp.take_along_axis
    group = groups.of_conversations(tokens)
    size = groups.count(group)
    stay = groups.share_of(size, share)
    rank = groups.rank(group, rate(layer - 1))
    recycled = stay + groups.share_of(size - stay, RECYCLED)
    averages = groups.share_of(size - stay, AVERAGES)
    stays, averaged = rank < stay, (stay <= rank) & (rank < recycled)
    averaged &= averages > 0  # of few tokens there is none to be part of

    rows, visual = group.shape
    prompts = tokens.token_layout.prompt.place.shape[1]
    room = groups.compact(averaged & (group > 0), _room(visual, share, prompts))
    centre = _centres(
      take(tokens.visual, room.slot[..., None], axis=1),
      jnp.where(room.valid, take(group, room.slot, axis=1), 0),
      take(averages, room.slot, axis=1),
    )
    centre = take(room.slot, centre, axis=1)
    to = jnp.where(room.valid, room.slot, visual)  # beyond the last is nowhere
    home = groups.slot_numbers(group)
    home = home.at[jnp.arange(rows)[:, None], to].set(centre, mode='drop')
    used = (group > 0) & (stays | averaged)
    return groups.average(tokens, home, used, _left(visual, share))

  def tokens_of_layer(self, row: method.Row) -> list[int]:
    depth, visual, of_layer = row.size.language.depth, row.visual, []
    self.layers(depth)
    for layer in range(depth):
      of_layer.append(visual)
      if layer in self._drops:
        visual = _left(visual, self._drops[layer])
    return of_layer

  def rating_macs(self, row: method.Row) -> int:
    """Which words are like the image; what these look at; who is near whom."""
    width, tokens = row.size.language.width, self.tokens_of_layer(row)
    macs = row.visual * row.text * width
    every_word = dataclasses.replace(row, prompts=row.text)
    for layer, share in self._drops.items():
      room = _room(tokens[layer], share, row.prompts)
      macs += method.rate_macs(every_word, tokens[layer]) + room**2 * width
    return macs


def _left(visual: int, share: fractions.Fraction) -> int:
  """Slots for a share of a row's, and averages of what else there was."""
  stay = method.share_of(visual, share)
  return max(1, stay + method.share_of(visual - stay, AVERAGES))


def _room(visual: int, share: fractions.Fraction, prompts: int) -> int:
  """Slots for what is averaged; each conversation may round up to one more."""
  dropped = visual - method.share_of(visual, share)
  return min(visual, method.share_of(dropped, RECYCLED) + prompts)


def _raters(tokens: method.VisualTokens) -> 'jax.Array':
  """bool [B, T], the words that are more like the image than others.

  Of the words between a visual token and the end of the next prompt. Likeness
  is the softmax of products over these words, in the mean of visual tokens.
  """
  import jax
  import jax.numpy as jnp

  layout = tokens.token_layout
  visual, text, prompt = layout.visual, layout.text, layout.prompt

  def follows(slots: 'positions.Slots') -> 'jax.Array':
    same = slots.segment[:, None] == visual.segment[:, :, None]
    return same & (slots.place[:, None] > visual.place[:, :, None])

  last = jnp.iinfo(jnp.int32).max
  end = jnp.where(follows(prompt), prompt.place[:, None], last).min(axis=2)
  asks = follows(text) & (text.place[:, None] <= end[:, :, None])
  asks &= (visual.segment > 0)[:, :, None]
  products = jnp.einsum(
    'BVD,BTD->BVT',
    tokens.visual.astype(jnp.float32),
    jnp.asarray(tokens.text, jnp.float32),
  )
  like = jax.nn.softmax(jnp.where(asks, products, -jnp.inf), axis=2)
  fair = 1 / jnp.maximum(asks.sum(axis=2, keepdims=True), 1)
  more = jnp.where(asks, like - fair, 0).sum(axis=1)
  return asks.any(axis=1) & (more >= 0)


def _centres(
  visual: 'jax.Array', group: 'jax.Array', count: 'jax.Array'
) -> 'jax.Array':
  """Density peaks of nearest neighbours (Du et al. 2016), group by group.

  A centre has many tokens near it, and no denser one.

  Args:
    visual: [B, R, D].
    group: int32 [B, R], rising; 0 is padding, which is last.
    count: int32 [B, R], how many clusters the group has.

  Returns:
    int32 [B, R], the centre of each, which is its own.
  """
  import jax.numpy as jnp

  from visor_jax.reduction import groups

  x = visual.astype(jnp.float32)
  square = jnp.square(x).sum(axis=2)
  square = square[:, :, None] + square[:, None]
  square -= 2 * jnp.einsum('BRD,BSD->BRS', x, x)
  same = group[:, :, None] == group[:, None]
  square = jnp.where(same, jnp.maximum(square, 0) / x.shape[2], jnp.inf)
  number = groups.slot_numbers(group)
  near = number[:, None] < count[:, :, None]  # itself is among them
  nearest = jnp.where(near, jnp.sort(square, axis=2), 0).sum(axis=2)
  density = jnp.exp(-nearest / jnp.maximum(count, 1))

  distance = jnp.sqrt(square)
  # Two that are each other's nearest may be as dense, but for rounding: then
  # the first is.
  more = density[:, None] - density[:, :, None]
  first = number[:, None] < number[:, :, None]
  denser = jnp.where(jnp.abs(more) > groups.TINY, more > 0, first)
  apart = jnp.where(denser, distance, jnp.inf).min(axis=2)
  # Of the densest it is what is farthest apart in the group.
  farthest = jnp.where(same, distance, 0).max(axis=2)[:, None]
  farthest = jnp.where(same, farthest, 0).max(axis=2)
  apart = jnp.where(jnp.isinf(apart), farthest, apart)
  is_centre = groups.rank(group, apart * density) < count
  to_centre = jnp.where(is_centre[:, None], distance, jnp.inf)
  return jnp.where(is_centre, number, jnp.argmin(to_centre, axis=2))

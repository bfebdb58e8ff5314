"""HiRED (arXiv 2408.10945): a budget for each tile, by what the thumbnail sees.

The thumbnail says which parts of an image matter; tiles share a budget so, and
each keeps the tokens that its own attention looks at.
"""

import dataclasses

from visor_jax.reduction import method


@dataclasses.dataclass(frozen=True)
class HiRED(method.ShareOfImage):
  """A share of an image, half of it the thumbnail's.

  The other half is shared out among the tiles by how much of the half of the
  thumbnail that is looked at most lies in each. Newlines are dropped. Where an
  image has none it has no thumbnail, and each of its tiles keeps the share.
  """

  name = 'hired'
  published = {'hired-20%': 'hired:0.2', 'hired-40%': 'hired:0.4'}
  rates_patches = True

  def before_decoder(
    self, tokens: method.VisualTokens, patches: method.Patches
  ) -> method.VisualTokens:
    import jax.numpy as jnp

    from visor_jax.reduction import groups

    group = groups.of_images(tokens)
    attention, _ = groups.patch_rating(patches)
    rows, columns = patches.grid
    tile = patches.index[..., 0] // (rows * columns)  # I of newlines
    newline = (group > 0) & (tile == patches.tiles)
    seen = (group > 0) & ~newline
    start = groups.slot_numbers(group) - groups.order(group, group > 0)
    first = jnp.take_along_axis(tile, start, axis=1)
    lines = groups.total(group, newline)
    thumbnail = seen & (lines > 0) & (tile == first)
    # A line of the image goes through several tiles: no neighbours, but ranked.
    of_tile = jnp.where(seen, tile + 1, 0)
    in_tile, size = groups.rank(of_tile, attention), groups.count(of_tile)

    # Which slot of the thumbnail shows what a slot behind it shows.
    line = groups.order(group, newline)
    wide = groups.total(group, ~thumbnail) // jnp.maximum(lines, 1)
    column = groups.order(group, ~thumbnail) - line * wide
    down = (2 * line + 1) * rows // jnp.maximum(2 * lines, 1)
    right = (2 * column + 1) * columns // jnp.maximum(2 * (wide - 1), 1)
    looked_at = thumbnail & (in_tile < size // 2)
    there = start + down * columns + right
    there = jnp.clip(there, 0, group.shape[1] - 1)
    matters = jnp.take_along_axis(looked_at, there, axis=1)
    matters &= seen & ~thumbnail

    budget = groups.share_of(groups.count(group), self.share)
    of_thumbnail = jnp.minimum(budget // 2, groups.total(group, thumbnail))
    rest = (budget - of_thumbnail) * groups.total(of_tile, matters)
    rest //= jnp.maximum(groups.total(group, matters), 1)
    rest = jnp.where(lines > 0, rest, groups.share_of(size, self.share))
    stays = seen & (in_tile < jnp.where(thumbnail, of_thumbnail, rest))
    slots = self.slots(group.shape[1], patches.tiles, patches.grid)
    return groups.keep(tokens, groups.compact(stays, slots))

  def rating_macs(self, row: method.Row) -> int:
    """Attention that patches get."""
    vision = row.size.vision
    return vision.pairs(row.tiles) * vision.width

"""VisPruner (arXiv 2412.01818): important tokens, and different ones.

Patches are rated as for VisionZip, see visionzip.py.
"""

import dataclasses

from visor_jax.reduction import method

# It removes 8 of LLaVA-1.5's 576 tokens at a time.
ROUNDS = 72


@dataclasses.dataclass(frozen=True)
class VisPruner(method.ShareOfImage):
  """A share of an image: half of it important, the other half different.

  As long as there are too many of the latter, every other one is compared with
  those between, and the few that are most alike to one of them go.
  """

  name = 'vispruner'
  # Papers name counts of LLaVA-1.5's 576 tokens (24 x 24 patches).
  published = {
    f'vispruner-{n}': f'vispruner:{n}/576' for n in (32, 64, 128, 192)
  }
  rates_patches = True

  def before_decoder(
    self, tokens: method.VisualTokens, patches: method.Patches
  ) -> method.VisualTokens:
    import jax
    import jax.numpy as jnp

    from visor_jax.reduction import groups

    group = groups.of_images(tokens)
    attention, _ = groups.patch_rating(patches)
    size = groups.count(group)
    share = groups.share_of(size, self.share)
    there = group > 0
    important = there & (groups.rank(group, attention) < share // 2)
    _, likeness = groups.likeness(tokens)
    same = group[:, :, None] == group[:, None]
    at_once = -(-size // ROUNDS)

    def thin(_: jax.Array, left: jax.Array) -> jax.Array:
      odd = groups.order(group, left) % 2 == 1
      compared = same & (left & odd)[:, None]
      nearest = jnp.max(jnp.where(compared, likeness, -jnp.inf), axis=2)
      too_many = groups.total(group, left) - (share - share // 2)
      go = jnp.minimum(at_once, too_many)
      even = left & ~odd
      rank = groups.rank(group, jnp.where(even, nearest, -jnp.inf))
      return left & ~(even & (rank < go))

    # When few are left, no more than half of them go at once.
    rounds = min(group.shape[1], ROUNDS + 16)
    different = jax.lax.fori_loop(0, rounds, thin, there & ~important)
    stays = (important | different) & (share > 0)
    slots = self.slots(group.shape[1], patches.tiles, patches.grid)
    return groups.keep(tokens, groups.compact(stays, slots))

  def rating_macs(self, row: method.Row) -> int:
    """Attention that patches get, and who is like whom of all."""
    vision = row.size.vision
    attention = vision.pairs(row.tiles) * vision.width
    return attention + row.visual * row.visual * row.size.language.width

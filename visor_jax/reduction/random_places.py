"""Tokens that stay by chance: what a method of choosing has to beat.

Surveys (UniPruneBench) find that it often does as well.
"""

import dataclasses

from visor_jax.reduction import method


@dataclasses.dataclass(frozen=True)
class Random(method.ShareOfImage):
  """A share of an image; the same places in all images of as many tokens."""

  name = 'random'

  def before_decoder(
    self, tokens: method.VisualTokens, patches: method.Patches
  ) -> method.VisualTokens:
    import jax

    from visor_jax.reduction import groups

    key = jax.random.key(0)

    # By place, so that what else is in the row decides nothing.
    @jax.vmap
    @jax.vmap
    def chance(place: jax.Array) -> jax.Array:
      return jax.random.uniform(jax.random.fold_in(key, place))

    group = groups.of_images(tokens)
    there = group > 0
    rank = groups.rank(group, chance(groups.order(group, there)))
    stays = there & (rank < groups.share_of(groups.count(group), self.share))
    slots = self.slots(group.shape[1], patches.tiles, patches.grid)
    return groups.keep(tokens, groups.compact(stays, slots))

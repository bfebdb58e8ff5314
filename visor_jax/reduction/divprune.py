"""DivPrune (arXiv 2503.02175): the tokens that differ most from one another."""

import dataclasses

from visor_jax.reduction import method


@dataclasses.dataclass(frozen=True)
class DivPrune(method.ShareOfImage):
  """A share of an image, one after the other.

  The first is the one that is farthest from its nearest neighbour, the next
  always the one that is farthest from the nearest of those that stay already;
  far is in the angle between what the decoder would get.
  """

  name = 'divprune'

  def before_decoder(
    self, tokens: method.VisualTokens, patches: method.Patches
  ) -> method.VisualTokens:
    import jax
    import jax.numpy as jnp

    from visor_jax.reduction import groups

    group = groups.of_images(tokens)
    share = groups.share_of(groups.count(group), self.share)
    _, likeness = groups.likeness(tokens)
    same = (group[:, :, None] == group[:, None]) & (group > 0)[:, None]
    others = same & ~jnp.eye(group.shape[1], dtype=bool)
    slots = self.slots(group.shape[1], patches.tiles, patches.grid)

    def add(
      number: jax.Array, state: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
      stays, nearest = state  # how like the nearest of those that stay
      candidate = (group > 0) & ~stays
      rating = jnp.where(candidate, -nearest, -jnp.inf)
      best = candidate & (groups.rank(group, rating) == 0) & (number < share)
      to_best = jnp.where(same & best[:, None], likeness, -jnp.inf).max(axis=2)
      # Before the first it was the nearest of all.
      nearest = jnp.where(number == 0, to_best, jnp.maximum(nearest, to_best))
      return stays | best, nearest

    to_others = jnp.where(others, likeness, -jnp.inf).max(axis=2)
    start = jnp.zeros_like(same[:, 0]), to_others
    stays, _ = jax.lax.fori_loop(0, slots, add, start)
    return groups.keep(tokens, groups.compact(stays, slots))

  def rating_macs(self, row: method.Row) -> int:
    """Who is like whom of all."""
    return row.visual * row.visual * row.size.language.width

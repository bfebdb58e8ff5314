"""CDPruner (arXiv 2506.10967): different tokens that the question is about.

There is no text tower here: the question is what its words are to the decoder.
"""

import dataclasses

from visor_jax.reduction import method


@dataclasses.dataclass(frozen=True)
class CDPruner(method.ShareOfImage):
  """A share of an image, which a determinantal point process finds likely.

  Its kernel is the likeness of two tokens times how relevant each is, the mean
  of its likeness to the words of the first prompt, from 0 to 1 in an image.
  Always the token is added that adds most to the determinant (fast greedy
  search, arXiv 1709.05135): what is left of it once all that those before have
  of it is taken away.
  """

  name = 'cdpruner'
  reads_question = True

  def before_decoder(
    self, tokens: method.VisualTokens, patches: method.Patches
  ) -> method.VisualTokens:
    import jax
    import jax.numpy as jnp

    from visor_jax.reduction import groups

    group = groups.of_images(tokens)
    share = groups.share_of(groups.count(group), self.share)
    features, likeness = groups.likeness(tokens)
    relevance = groups.stretched(group, groups.relevance(tokens, features))
    kernel = likeness * relevance[:, :, None] * relevance[:, None]
    slots = self.slots(group.shape[1], patches.tiles, patches.grid)

    def add(
      step: jax.Array, state: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
      stays, left, taken = state  # taken: what each that stays has of all
      candidate = (group > 0) & ~stays
      rating = jnp.where(candidate, left, -jnp.inf)
      best = candidate & (groups.rank(group, rating) == 0)
      number = groups.number_of(group, best)
      of_best = jnp.take_along_axis(taken, number[:, None], axis=2)
      new = jnp.take_along_axis(kernel, number[..., None], axis=2)[..., 0]
      new -= jnp.einsum('BSV,BSV->BV', taken, of_best)
      new /= jnp.sqrt(jnp.take_along_axis(left, number, axis=1))
      left = jnp.maximum(left - new**2, groups.TINY)
      return stays | (best & (step < share)), left, taken.at[:, step].set(new)

    start = (
      jnp.zeros_like(group, bool),
      jnp.maximum(relevance**2, groups.TINY),
      jnp.zeros((group.shape[0], slots, group.shape[1])),
    )
    stays, *_ = jax.lax.fori_loop(0, slots, add, start)
    return groups.keep(tokens, groups.compact(stays, slots))

  def rating_macs(self, row: method.Row) -> int:
    """Who is like whom and like the words; what those that stay have of all."""
    slots = self.slots(row.visual, row.tiles, row.size.vision.grid)
    alike = row.visual * (row.visual + row.text) * row.size.language.width
    return alike + slots * slots * row.visual

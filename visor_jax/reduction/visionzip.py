"""VisionZip (arXiv 2412.04467): dominant tokens, and averages of the others.

Towers here have no class token: a patch is rated by the attention that it gets
of the patches of its tile, mean of queries and heads, in the last layer.
"""

import dataclasses
import fractions

from visor_jax.reduction import method

# Of 64 tokens that are kept, 10 are averages.
CONTEXT = fractions.Fraction(10, 64)


@dataclasses.dataclass(frozen=True)
class VisionZip(method.ShareOfImage):
  """A share of an image; averages are around evenly spaced tokens."""

  name = 'visionzip'
  # Papers name counts of LLaVA-1.5's 576 tokens (24 x 24 patches).
  published = {f'visionzip-{n}': f'visionzip:{n}/576' for n in (64, 128, 192)}
  rates_patches = True

  def before_decoder(
    self, tokens: method.VisualTokens, patches: method.Patches
  ) -> method.VisualTokens:
    import jax.numpy as jnp

    from visor_jax.reduction import groups

    take = jnp.take_along_axis
    group = groups.of_images(tokens)
    attention, keys = groups.patch_rating(patches)
    size = groups.count(group)
    share = groups.share_of(size, self.share)
    # Rounded, so that a few tokens have an average among them, too.
    context = (2 * share * CONTEXT.numerator + CONTEXT.denominator) // (
      2 * CONTEXT.denominator
    )
    dominant = (group > 0) & (groups.rank(group, attention) < share - context)
    rest = (group > 0) & ~dominant
    rank = groups.order(group, rest)
    step = jnp.maximum((size - share + context) // jnp.maximum(context, 1), 1)
    target = rest & (rank % step == 0) & (rank // step < context)
    slots = self.slots(group.shape[1], patches.tiles, patches.grid)
    kept_slots = groups.compact(dominant | target, slots)

    # Every other token is averaged into the target that is most like it.
    keys = groups.normalised(keys)
    target_keys = take(keys, kept_slots.slot[..., None], axis=1)
    is_target = take(target, kept_slots.slot, axis=1) & kept_slots.valid
    kept_group = take(group, kept_slots.slot, axis=1)
    fits = is_target[:, None] & (group[:, :, None] == kept_group[:, None])
    likeness = jnp.einsum('BVH,BUH->BVU', keys, target_keys)
    likeness = jnp.where(fits, likeness, -jnp.inf)
    nearest = take(kept_slots.slot, jnp.argmax(likeness, axis=2), axis=1)
    home = jnp.where(rest & fits.any(axis=2), nearest, group.shape[1])
    home = jnp.where(dominant | target, groups.slot_numbers(group), home)
    return groups.keep(tokens, kept_slots, home)

  def rating_macs(self, row: method.Row) -> int:
    """Attention that patches get, and who is like whom of those kept."""
    vision = row.size.vision
    head_width = vision.width // (vision.heads if vision.depth else 1)
    slots = self.slots(row.visual, row.tiles, vision.grid)
    attention = vision.pairs(row.tiles) * vision.width
    return attention + row.visual * slots * head_width

"""Neighbours in a row become one token, their average."""

import dataclasses

from visor_jax.reduction import method


@dataclasses.dataclass(frozen=True)
class Pack(method.Reduction):
  """`window` neighbours at a time; what is left over joins the last."""

  name = 'pack'
  window: int

  def slots(self, visual: int, tiles: int, grid: tuple[int, int]) -> int:
    del tiles, grid
    return max(1, visual // self.window)

  def before_decoder(
    self, tokens: method.VisualTokens, patches: method.Patches
  ) -> method.VisualTokens:
    import jax.numpy as jnp

    from visor_jax.reduction import groups

    group = groups.of_images(tokens)
    rank = groups.order(group, group > 0)
    last = jnp.maximum(groups.count(group) // self.window, 1) - 1
    pack = jnp.minimum(rank // self.window, last)
    home = groups.slot_numbers(group) - rank + self.window * pack
    visual = tokens.visual.shape[1]
    slots = self.slots(visual, patches.tiles, patches.grid)
    return groups.average(tokens, home, group > 0, slots)

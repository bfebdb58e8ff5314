"""M3, Matryoshka multimodal models (arXiv 2405.17430): pooled patches.

At most `window` x `window` patches of a tile become one token, their average.
Several scales are trained together: m3:1+m3:2+m3:4.
"""

import dataclasses

from visor_jax.reduction import method


@dataclasses.dataclass(frozen=True)
class M3(method.Reduction):
  """Slots whose first patch lies in the same window of the same tile.

  Pooling features would not do: slots are what is left of tiles once padding is
  cut off. A newline has no patch and is dropped.
  """

  name = 'm3'
  published = {f'm3-{(24 // w) ** 2}': f'm3:{w}' for w in (1, 2, 4, 8, 24)}
  window: int

  def slots(self, visual: int, tiles: int, grid: tuple[int, int]) -> int:
    if grid == (1, 1) and self.window > 1:
      raise ValueError(
        f'token reduction "{self}" averages patches of a tile, and tiles of '
        'this model have one'
      )
    rows, columns = (-(-side // self.window) for side in grid)
    return min(visual, tiles * rows * columns)

  def before_decoder(
    self, tokens: method.VisualTokens, patches: method.Patches
  ) -> method.VisualTokens:
    import jax.numpy as jnp

    from visor_jax.reduction import groups

    group = groups.of_images(tokens)
    tiles, (rows, columns), window = patches.tiles, patches.grid, self.window
    tile, patch = jnp.divmod(patches.index[..., 0], rows * columns)
    row, column = jnp.divmod(patch, columns)
    across = -(-columns // window)
    of_tile = -(-rows // window) * across
    pooled = (group > 0) & (tile < tiles)
    cell = tile * of_tile + row // window * across + column // window
    cell = jnp.where(pooled, cell, tiles * of_tile)
    b, v = group.shape
    first = (
      jnp.full((b, tiles * of_tile + 1), v)
      .at[jnp.arange(b)[:, None], cell]
      .min(groups.slot_numbers(group))
    )
    home = jnp.take_along_axis(first, cell, axis=1)
    slots = self.slots(v, tiles, patches.grid)
    return groups.average(tokens, home, pooled, slots)

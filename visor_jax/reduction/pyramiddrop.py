"""PyramidDrop (arXiv 2410.17247): what the prompt looks at, in stages."""

import dataclasses
import fractions

from visor_jax.reduction import method


@dataclasses.dataclass(frozen=True)
class PyramidDrop(method.Reduction):
  """At a quarter, half and three quarters of the depth, a share of the rest."""

  name = 'pyramiddrop'
  published = {'pyramiddrop': 'pyramiddrop:0.5'}
  share: fractions.Fraction

  def layers(self, depth: int) -> tuple[int, ...]:
    quarters = (quarter * depth // 4 for quarter in (1, 2, 3))
    return tuple(dict.fromkeys(quarters))

  def between_layers(
    self, layer: int, tokens: method.VisualTokens, rate: method.Rate
  ) -> method.VisualTokens:
    from visor_jax.reduction import groups

    return groups.keep_highest(tokens, rate(layer), self.share)

  def tokens_of_layer(self, row: method.Row) -> list[int]:
    depth, visual, of_layer = row.size.language.depth, row.visual, []
    drops = self.layers(depth)
    for layer in range(depth):
      if layer in drops:
        visual = method.slots_for(visual, self.share)
      of_layer.append(visual)
    return of_layer

  def rating_macs(self, row: method.Row) -> int:
    visual, macs = row.visual, 0
    for _ in self.layers(row.size.language.depth):
      macs += method.rate_macs(row, visual)
      visual = method.slots_for(visual, self.share)
    return macs

"""FastV (arXiv 2403.06764): from one layer on, what the prompt looks at."""

import dataclasses
import fractions

from visor_jax.reduction import method


@dataclasses.dataclass(frozen=True)
class FastV(method.Reduction):
  """The attention of the layer before `layer` rates, by what it meets."""

  name = 'fastv'
  published = {'fastv': 'fastv:2:0.5'}
  layer: int
  share: fractions.Fraction

  def layers(self, depth: int) -> tuple[int, ...]:
    if self.layer >= depth:
      raise ValueError(
        f'token reduction "{self}": a decoder of {depth} layers '
        f'can drop tokens at layers 1 to {depth - 1}'
      )
    return self.layer - 1, self.layer

  def between_layers(
    self, layer: int, tokens: method.VisualTokens, rate: method.Rate
  ) -> method.VisualTokens:
    if layer < self.layer:
      return tokens
    from visor_jax.reduction import groups

    return groups.keep_highest(tokens, rate(self.layer - 1), self.share)

  def tokens_of_layer(self, row: method.Row) -> list[int]:
    depth = row.size.language.depth
    self.layers(depth)
    fewer = method.slots_for(row.visual, self.share)
    return [row.visual] * self.layer + [fewer] * (depth - self.layer)

  def rating_macs(self, row: method.Row) -> int:
    return method.rate_macs(row, row.visual)

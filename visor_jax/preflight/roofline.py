"""How fast a step can be at best, and what a recipe then takes.

A device computes, moves and sends at once, none of it faster than its data
sheet says: a step takes at least as long as the slowest of them. What a program
reads again from its caches counts as moved, so memory may be the bound on paper
and not on the card.
"""

import dataclasses

import ml_collections

from visor_jax.flops import cost as flops
from visor_jax.preflight import hlo
from visor_jax.spec import chips
from visor_jax.spec import plan as plans
from visor_jax.training import program as program_lib
from visor_jax.training import throughput


@dataclasses.dataclass(frozen=True)
class Bound:
  """Seconds that a step takes at least, by what bounds it.

  Attributes:
    products: to compute.
    memory: to read and write.
    links: to send to neighbours.
    network: to send to other hosts, or slices of TPUs.
    mfu: model FLOPs utilisation at most (throughput.py), of rows that are one
      conversation each; None for a stage without that formula.
  """

  products: float
  memory: float
  links: float
  network: float
  mfu: float | None = None

  @property
  def seconds(self) -> float:
    """At least."""
    return max(self.products, self.memory, self.links, self.network)

  def towards(self, other: 'Bound', share: float) -> float:
    """Seconds of a step that is this one but for a share of the other."""
    return max(
      (1 - share) * here + share * there
      for here, there in (
        (self.products, other.products),
        (self.memory, other.memory),
        (self.links, other.links),
        (self.network, other.network),
      )
    )


def bound(count: hlo.Count, useful: float | None, chip: chips.Chip) -> Bound:
  """The roofline of a step.

  Args:
    count: what a device does in it.
    useful: FLOPs of a device that the model needs, see `useful_flops`.
    chip: the device.
  """
  result = Bound(
    # Kernels may not be counted, but do no less than is needed.
    products=max(count.flops, useful or 0) / chip.flops,
    memory=count.moved / chip.bandwidth,
    links=(count.bytes - count.between) / chip.link,
    network=count.between / chip.network,
  )
  if useful is None:
    return result
  return dataclasses.replace(result, mfu=useful / chip.flops / result.seconds)


def useful_flops(
  program: program_lib.TrainProgram, step: int, plan: plans.Plan | None
) -> float | None:
  """FLOPs of a device that the model needs in a step, of rows without padding.

  Args:
    program: of the stage.
    step: its number.
    plan: that it runs; None for the dense base.

  Returns:
    None for a stage without the formula, or a step with fewer tokens.
  """
  passes = program.stage.passes
  if passes is None or program.reductions(step) != program_lib.ALL_TOKENS:
    return None
  batch = program.arguments(step)[1].batch
  rows, visual = batch.gather_index.shape[:2]
  cost = flops.cost(
    dataclasses.replace(program.model.architecture, reduction=''),
    plan,
    visual,
    batch.tokens.shape[1],
    throughput.ACCOUNTING,
    tiles=batch.tiles.shape[1],
  )
  vision, decoder = passes
  row = vision * (cost.vision + cost.connector) + decoder * cost.llm_prefill
  return rows * row / program.mesh.size


def share_on(options: ml_collections.ConfigDict, layout: plans.Layout) -> float:
  """The share of optional layers that run, in the mean of a stage's steps.

  Which plans are viable is not known before the search: they count as spread
  evenly between min and max.

  Args:
    options: of the stage.
    layout: of the model.
  """
  if options.plan == 'viable':
    return options.max_share + (1 - options.max_share) / 2
  (selection,) = plans.parse(options.plan, layout)
  plan = selection.plan
  return sum(plan) / len(plan) if plan else 1.0

"""What the plans of a size cost, and what they save by who counts."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

from visor_jax.flops import accounting as accounting_lib
from visor_jax.flops import cost as cost_lib
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans


@dataclasses.dataclass(frozen=True)
class Question:
  """What an image and its prompt become.

  Attributes:
    visual: visual tokens.
    text: text tokens.
    tiles: tiles that the vision tower sees.
  """

  visual: int
  text: int
  tiles: int

  def cost(
    self,
    architecture: architecture_lib.Architecture,
    plan: plans.Plan | None,
    accounting: accounting_lib.Accounting,
    routing: int = 0,
  ) -> cost_lib.Cost:
    """What one of it costs; arguments as of `flops.cost.cost`."""
    return cost_lib.cost(
      architecture,
      plan,
      self.visual,
      self.text,
      accounting,
      tiles=self.tiles,
      routing=routing,
    )


def table(
  architecture: architecture_lib.Architecture,
  selections: Sequence[plans.Selection],
  question: Question,
  accounting: accounting_lib.Accounting,
  reductions: Mapping[str, Question] | None = None,
) -> list[dict[str, Any]]:
  """A row for each plan, then one for each token reduction, of the base.

  Args:
    architecture: the model's.
    selections: each of one plan or the base.
    question: what is asked.
    accounting: what is counted, and how.
    reductions: token reductions of the base, and what each gets of the question
      where it makes its image smaller.

  Returns:
    method (the token reduction, '' for none), plan (list of 0/1 over the
    optional SELF layers, None for the base), self_layers (how many of them
    run), llm_prefill, visual (of it, what the image takes: the prompt alone
    takes so much less), routing (what the router adds where it chooses), vision
    (tower and connector), total (end to end, without routing), flops_saved (LLM
    prefill), total_saved, cache_bytes (of a prompt in bfloat16), saved
    ({accounting: LLM prefill as it counts that}), whole_saved (end to end, of
    those that count vision).
  """
  rows = [
    _row(architecture, selection.plan, question, question, accounting)
    for selection in selections
  ]
  for method, smaller in (reductions or {}).items():
    reduced = dataclasses.replace(architecture, reduction=method)
    rows.append(_row(reduced, None, smaller, question, accounting))
  return rows


def _row(
  architecture: architecture_lib.Architecture,
  plan: plans.Plan | None,
  question: Question,
  original: Question,
  accounting: accounting_lib.Accounting,
) -> dict[str, Any]:
  cost = question.cost(architecture, plan, accounting)
  base = original.cost(architecture.base, None, accounting)
  alone = dataclasses.replace(question, visual=0)
  prompt_alone = alone.cost(architecture, plan, accounting)
  routing = 0
  if plan is not None:
    routing = question.cost(architecture, plan, accounting, routing=1).routing

  def saved(part: Callable[[cost_lib.Cost], int]) -> dict[str, float]:
    return {
      name: part(original.cost(architecture.base, None, by))
      / part(question.cost(architecture, plan, by))
      for name, by in accounting_lib.ACCOUNTINGS.items()
    }

  return dict(
    method=architecture.reduction,
    plan=None if plan is None else [int(on) for on in plan],
    self_layers=architecture.depth if plan is None else sum(plan),
    llm_prefill=cost.llm_prefill,
    visual=cost.llm_prefill - prompt_alone.llm_prefill,
    routing=routing,
    vision=cost.vision + cost.connector,
    total=cost.total,
    flops_saved=base.llm_prefill / cost.llm_prefill,
    total_saved=base.total / cost.total,
    cache_bytes=sum(
      cost_lib.cache(
        architecture,
        plan,
        question.visual,
        question.text,
        2,
        tiles=question.tiles,
      )
    ),
    saved=saved(lambda part: part.llm_prefill),
    whole_saved={
      name: ratio
      for name, ratio in saved(lambda part: part.total).items()
      if accounting_lib.ACCOUNTINGS[name].vision
    },
  )

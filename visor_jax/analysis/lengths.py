"""What methods cost by the number of visual tokens."""

from collections.abc import Sequence
import dataclasses
from typing import Any

from visor_jax.flops import accounting as accounting_lib
from visor_jax.flops import cost as flops
from visor_jax.reduction import method as method_lib
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans

LENGTHS = tuple(2**i for i in range(4, 15))  # 16 tokens to 16,384


def measure(
  architecture: architecture_lib.Architecture,
  selections: Sequence[plans.Selection],
  reductions: Sequence[method_lib.Reduction],
  text: int,
  accounting: accounting_lib.Accounting = accounting_lib.NOMINAL,
  lengths: Sequence[int] = LENGTHS,
) -> dict[str, Any]:
  """LLM prefill FLOPs of plans, and of the base with fewer tokens.

  Args:
    architecture: the model's.
    selections: each of one plan or the base.
    reductions: token reductions of the base.
    text: text tokens.
    accounting: what is counted, and how.
    lengths: numbers of visual tokens.

  Returns:
    lengths; curves {plan or reduction: a number for each length}, in the order
    of a legend; text; the accounting in words.
  """

  def curve(
    model: architecture_lib.Architecture, plan: plans.Plan | None
  ) -> list[float]:
    return [
      float(flops.cost(model, plan, visual, text, accounting).llm_prefill)
      for visual in lengths
    ]

  all_tokens = dataclasses.replace(architecture, reduction='')
  curves = {str(s): curve(all_tokens, s.plan) for s in selections}
  for reduction in reductions:
    name = str(reduction)
    if reduction.in_data:
      raise ValueError(
        f'token reduction "{name}" leaves tokens by what an image is, and not '
        'by how many there are'
      )
    curves[name] = curve(dataclasses.replace(all_tokens, reduction=name), None)
  return dict(
    lengths=list(lengths),
    curves=curves,
    text=text,
    accounting=accounting.describe(),
  )

"""What methods cost by the number of visual tokens."""

import functools

from visor_jax.flops import cost as flops
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes

LENGTHS = tuple(2**i for i in range(4, 15))  # 16 tokens to 16,384


def measure(curves, lengths=LENGTHS, **facts) -> dict:
  """Evaluates curves.

  Args:
    curves: of (name, function of visual tokens), in the order of a legend.
    lengths: visual tokens.
    **facts: to keep beside them: text tokens, the accounting.

  Returns:
    lengths; curves {name: a number for each length}; the facts.
  """
  curves = {name: [float(cost(n)) for n in lengths] for name, cost in curves}
  return dict(lengths=list(lengths), curves=curves, **facts)


def curves(
  size: sizes.Size,
  layout: plans.Layout,
  selections,
  reductions,
  text: int,
  accounting: flops.Accounting = flops.NOMINAL,
  **options,
):
  """LLM prefill of plans, and of the base with fewer tokens, for `measure`.

  Args:
    size: of the model.
    layout: the VISOR layout.
    selections: plan.Selection, each of one plan or the base.
    reductions: reduction.Reduction, of the base's visual tokens.
    text: text tokens.
    accounting: see flops.Accounting.
    **options: of flops.cost.
  """

  def curve(plan, reduction, visual):
    return flops.cost(
      size,
      layout,
      plan,
      visual,
      text,
      accounting,
      reduction=reduction,
      **options,
    ).llm_prefill

  return [
    (str(s), functools.partial(curve, s.plan, None)) for s in selections
  ] + [(str(r), functools.partial(curve, None, r)) for r in reductions]

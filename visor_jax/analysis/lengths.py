"""What methods cost by the number of visual tokens."""

import functools

from visor_jax import flops
from visor_jax import plan as plans
from visor_jax import sizes

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


def of_plans(size: sizes.Size, layout: plans.Layout, selections, text: int,
             accounting: flops.Accounting = flops.NOMINAL, **options):
  """LLM prefill of the base and of plans, as curves for `measure`.

  Args:
    size: of the model.
    layout: the VISOR layout.
    selections: plan.Selection, each of one plan or the base.
    text: text tokens.
    accounting: see flops.Accounting.
    **options: of flops.cost.
  """
  def curve(plan, visual):
    return flops.cost(size, layout, plan, visual, text, accounting,
                      **options).llm_prefill

  return [(str(s), functools.partial(curve, s.plan)) for s in selections]

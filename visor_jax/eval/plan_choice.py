"""Under which plan a checkpoint answers: what is asked for, and what it can."""

import dataclasses
import numbers
from typing import Any

from visor_jax.checkpoint import facts as facts_lib
from visor_jax.eval import answer as answer_lib
from visor_jax.eval import costs
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import budget as budget_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import shares as shares_lib


@dataclasses.dataclass(frozen=True)
class PlanChoice:
  """The plans of a checkpoint.

  Attributes:
    facts: what the checkpoint knows of itself.
    architecture: the model's, also where its CROSS weights are fresh.
    allow_untrained: plans may run whose CROSS weights are fresh.
  """

  facts: facts_lib.Facts
  architecture: architecture_lib.Architecture
  allow_untrained: bool = False

  def select(
    self, options: answer_lib.Options, size: costs.PromptSize
  ) -> plans.Selection:
    """What is asked for in one of three ways.

    Args:
      options: `plan` in the grammar of plan.py, None for the router where it is
        trained, `max` where VISOR is, else the base; `budget` instead, a share
        of what `budget_of` says, see spec/shares.py; `drop` instead, a share of
        max's accuracy that may be lost.
      size: of the prompt that a budget is for, where no router spends it; its
        answer is taken to have all new tokens that it may.

    Raises:
      ValueError: they are several, or what is asked for cannot be.
    """
    plan, budget = options.get('plan'), options.get('budget')
    drop = options.get('drop')
    of = options.get('budget_of', shares_lib.PREFILL)
    shares_lib.check(of)
    _require_number('budget', budget)
    _require_number('drop', drop)
    if (plan, budget, drop).count(None) < 2:
      raise ValueError('give a plan or a budget or a drop, one of them')
    if budget is None and of != shares_lib.PREFILL:
      raise ValueError(f'budget_of {of!r} goes with a budget')
    if drop is not None:
      self.parse('router')  # is it trained?
      return plans.Selection('router', drop=drop)
    if budget is None:
      return self.parse(self._usual() if plan is None else plan)
    if self.facts.curve and facts_lib.ROUTER in self.facts.trained:
      return plans.Selection('router', budget=budget, budget_of=of)
    self.parse('max')  # is VISOR trained?
    layout = self.architecture.layout
    tokens = options.get('max_new_tokens', answer_lib.MAX_NEW_TOKENS)

    def flops(plan: plans.Plan) -> int:
      if of == shares_lib.TOTAL:
        return costs.total_flops(self.architecture, plan, size, tokens)
      return costs.prefill_flops(
        self.architecture, plan, size.visual, size.text
      )

    largest = flops(layout.max)
    shares = {
      viable: flops(viable) / largest
      for viable in self.facts.viable or (layout.min, layout.max)
    }
    return plans.Selection(
      'fixed', budget_lib.most_expensive(shares, budget, of)
    )

  def largest(self) -> str:
    """The plan that runs all layers which have learned to run together."""
    return 'max' if facts_lib.CROSS in self.facts.trained else 'base'

  def _usual(self) -> str:
    if facts_lib.ROUTER in self.facts.trained:
      return 'router'
    return self.largest()

  def parse(self, plan: str) -> plans.Selection:
    """The one selection that is meant; only what is trained may be chosen.

    Raises:
      ValueError: it is not trained, or means several plans.
    """
    if not isinstance(plan, str):
      raise ValueError(f'plan is {plan!r}; expected a text, as max or 0,1')
    plan, trained = plan.strip(), self.facts.trained
    untrained = facts_lib.CROSS not in trained and not self.allow_untrained
    if plan != 'base' and untrained:
      raise ValueError(
        f'plan "{plan}": VISOR is untrained in this checkpoint, which can '
        'only answer with plan base; train it, or ask all the same with '
        '--allow-untrained (allow_untrained=True)'
      )
    if plan == 'base' and facts_lib.DECODER in trained:
      raise ValueError(
        'plan "base": the layers of the decoder have learned to run beside '
        'CROSS layers, and are no dense model any more; name another plan, or '
        'evaluate the model that they grew from with eval.plans=base'
      )
    if plan.startswith('router') and facts_lib.ROUTER not in trained:
      raise ValueError(
        f'plan "{plan}": the router is untrained in this '
        'checkpoint; name a plan or give a budget'
      )
    selections = plans.parse(plan, self.architecture.layout, self.facts.viable)
    if len(selections) != 1:
      raise ValueError(
        f'plan "{plan}" means {len(selections)} plans; ask for one'
      )
    return selections[0]


def _require_number(name: str, value: Any) -> None:
  """Raises a ValueError where there is a value that is no number."""
  if isinstance(value, bool) or not isinstance(value, numbers.Real | None):
    raise ValueError(f'{name} is {value!r}; expected a number')

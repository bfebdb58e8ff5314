"""Plans: which optional SELF layers run."""

from typing import Any

Plan = tuple[bool, ...]
TEXT, CROSS, SELF = 'text', 'cross', 'self'


def parse(facts: dict[str, Any], plan: str) -> Plan | None:
  """'max', 'min' or '0,3'; None for 'router'.

  Args:
    facts: `visor` of config.json.
    plan: of a server.

  Raises:
    ValueError: it is another, or nothing chooses.
  """
  count = len(facts['architecture']['layout']['optional'])
  if plan == 'router' and 'router' in facts['trained']:
    return None
  every = [str(number) for number in range(count)]
  runs = dict(max=every, min=[]).get(plan, plan.split(','))
  if not set(runs) <= set(every):
    raise ValueError(
      f'plan "{plan}": expected max, min, which of {count} optional SELF '
      'layers run, counted from 0, as 0,1, or router if it is trained; base is '
      'served by vLLM alone'
    )
  return tuple(number in runs for number in every)


def kinds(facts: dict[str, Any], plan: Plan | None) -> list[str]:
  """What each layer does under a plan; None for what it may do under any."""
  layout = facts['architecture']['layout']
  layers = list(layout['kinds'])
  for number, layer in enumerate(layout['optional']):
    layers[layer] = SELF if plan is None or plan[number] else TEXT
  return layers

"""From answers to results: a row per family, selector and plan."""

import collections

from visor_jax import flops
from visor_jax import plan as plans


def rows(answers: dict, groups, result=lambda some: {},
         **stamp) -> list[dict]:
  """Rows of results.jsonl.

  Args:
    answers: {plan.Selection: rows of eval.run.answers}.
    groups: family -> its group.
    result: rows of answers of a family -> what is said beside or instead.
    **stamp: keys that every row carries: seed, versions, config.

  Returns:
    family, group, selector, plan, accuracy, n, llm_prefill_flops (mean per
    question, routing included), flops_saved (against base), accounting; for
    the router `chosen`, how often it took which plan.
  """
  means = {s: _by_family(found) for s, found in answers.items()}
  out = []
  for selection, families in means.items():
    for family, some in families.items():
      cost = _mean(some, 'llm_prefill_flops')
      row = dict(
          family=family, group=groups(family), selector=selection.selector,
          plan=selection.plan and [int(on) for on in selection.plan],
          accuracy=_mean(some, 'score'), n=len(some), llm_prefill_flops=cost,
          flops_saved=_mean(some, 'base_prefill_flops') / cost,
          accounting=flops.NOMINAL.describe(), **stamp)
      if selection.selector == 'router':
        row['chosen'] = dict(collections.Counter(
            plans.name(tuple(map(bool, r['plan']))) for r in some))
      out.append(row | result(some))
  return out


def _by_family(found):
  families = collections.defaultdict(list)
  for row in found:
    families[row['family']].append(row)
  return families


def _mean(some, key):
  return sum(r[key] for r in some) / len(some)

"""From answers to results: a row per family, selector and plan."""

import collections

from visor_jax.flops import accounting
from visor_jax.spec import plan as plans

MEANS = (
  'llm_prefill_flops',
  'visual_flops',
  'vision_flops',
  'decode_flops',
  'total_flops',
  'cache_bytes',
  'tokens',
)


def rows(
  answers: dict, groups, measured=None, result=lambda some: {}, **stamp
) -> list[dict]:
  """Rows of results.jsonl.

  Args:
    answers: {plan.Selection: rows of eval.run.answers}.
    groups: family -> its group.
    measured: {plan.Selection: what eval.measure found}.
    result: rows of answers of a family -> what is said beside or instead.
    **stamp: keys that every row carries: seed, versions, config.

  Returns:
    family, group, selector, plan, accuracy, n; means per question, nominal:
      llm_prefill_flops: behind the connector, routing included,
      visual_flops: of them, what the visual tokens take: the same prompt
        without them takes so many less,
      vision_flops: vision tower and connector,
      decode_flops: the tokens of the answer but the first,
      total_flops: prefill, vision and decoding,
      cache_bytes: that the prompt's own tokens keep for those to come,
      tokens: of the answer, its end included;
    flops_saved and total_saved (against base, as the FLOPs of the same name),
    accounting; measured (first_token_s, tokens_per_s, peak_bytes, ... of the
    selection, see eval.measure; None where it was not); for a router `chosen`,
    how often it took which plan; for a router with a target `promised`, the
    budget or 1 - drop, and `delivered`, over the questions of all families the
    share of the LLM prefill FLOPs, or of the accuracy, of max (None without
    answers of max).
  """
  out = []
  for selection, found in answers.items():
    extra = _promise(selection, found, answers)
    for family, some in _by_family(found).items():
      cost, total = _mean(some, 'llm_prefill_flops'), _mean(some, 'total_flops')
      row = dict(
        family=family,
        group=groups(family),
        selector=selection.selector,
        plan=selection.plan and [int(on) for on in selection.plan],
        accuracy=_mean(some, 'score'),
        n=len(some),
        **{key: _mean(some, key) for key in MEANS},
        flops_saved=_mean(some, 'base_prefill_flops') / cost,
        total_saved=_mean(some, 'base_total_flops') / total,
        accounting=accounting.NOMINAL.describe(),
        measured=(measured or {}).get(selection),
        **extra,
        **stamp,
      )
      if selection.selector == 'router':
        row['chosen'] = dict(
          collections.Counter(
            plans.name(tuple(map(bool, r['plan']))) for r in some
          )
        )
      out.append(row | result(some))
  return out


def _promise(selection, found, answers):
  """What a router with a target promised, and what came."""
  if selection.budget is not None:
    return dict(
      budget=selection.budget,
      promised=selection.budget,
      delivered=(
        _mean(found, 'llm_prefill_flops') / _mean(found, 'max_prefill_flops')
      ),
    )
  if selection.drop is None:
    return {}
  largest = next(
    (rows for s, rows in answers.items() if s.plan and all(s.plan)), None
  )
  most = largest and _mean(largest, 'score')
  return dict(
    drop=selection.drop,
    promised=1 - selection.drop,
    delivered=_mean(found, 'score') / most if most else None,
  )


def _by_family(found):
  families = collections.defaultdict(list)
  for row in found:
    families[row['family']].append(row)
  return families


def _mean(some, key):
  return sum(r[key] for r in some) / len(some)

"""Questions to look at: when is a cheap plan enough, and what does it take?"""

import base64
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from visor_jax.data.suites import drawn
from visor_jax.data.suites import processor
from visor_jax.eval import run as eval_run
from visor_jax.spec import plan as plans

# Questions that are shown, of each family and kind: the cheapest plan was
# right; it was not; the router alone was wrong; nobody was right.
SHOWN = {'cheap': 2, 'dear': 2, 'wrong': 2, 'lost': 0}

Answers = Mapping[plans.Selection, Sequence[eval_run.Answer]]


def rows(
  suite: drawn.Suite, stream: str, answered: Answers
) -> list[dict[str, Any]]:
  """A row for each family and kind, with questions and their pictures.

  Args:
    suite: that was asked.
    stream: of the suite.
    answered: what was answered under each selection; the router and a fixed
      plan must be among them, else there is nothing to tell.

  Returns:
    Rows with family, group, kind, how many questions are of it, and the first
    of them.
  """
  router = plans.Selection('router')
  fixed = [answers for s, answers in answered.items() if s.selector == 'fixed']
  if router not in answered or not fixed:
    return []
  cheapest = min(fixed, key=_cost)
  numbers: dict[tuple[str, str], list[int]] = {}
  for number, asked in enumerate(answered[router]):
    right = any(_right(answers[number]) for answers in fixed)
    if _right(asked):
      kind = 'cheap' if _right(cheapest[number]) else 'dear'
    else:
      kind = 'wrong' if right else 'lost'
    numbers.setdefault((asked['family'], kind), []).append(number)
  return [
    dict(
      family=family,
      group=suite.group(family),
      kind=kind,
      count=len(of_kind),
      shown=[*_shown(suite, stream, answered, of_kind[: SHOWN[kind]])],
    )
    for (family, kind), of_kind in numbers.items()
  ]


def _shown(
  suite: drawn.Suite, stream: str, answered: Answers, numbers: Sequence[int]
) -> Iterator[dict[str, Any]]:
  for number in numbers:
    asked = answered[plans.Selection('router')][number]
    tiles = suite.question(stream, asked['index']).images
    yield dict(
      index=asked['index'],
      question=asked['question'],
      gold=asked['gold'],
      answer=asked['answer'],
      plan=asked['plan'],
      answers={str(s): all_[number]['answer'] for s, all_ in answered.items()},
      picture=base64.b64encode(processor.png(tiles)).decode(),
    )


def _right(answer: eval_run.Answer) -> bool:
  return answer['score'] == 1


def _cost(answers: Sequence[eval_run.Answer]) -> int:
  return sum(answer['llm_prefill_flops'] for answer in answers)

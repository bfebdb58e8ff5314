"""Which plan a router chooses, by its scores and its calibration."""

from collections.abc import Iterable
import decimal
import itertools
from typing import Any

import torch
from torch.nn import functional

# How surely a plan must suffice: all prompts alike, or each, [B, 1]. None for
# the likeliest plan.
Confidence = float | torch.Tensor | None


def choose(
  scores: torch.Tensor, confidence: Confidence
) -> tuple[torch.Tensor, torch.Tensor]:
  """From the router's scores to plans.

  Args:
    scores: [B, plans], of the viable plans by cost.
    confidence: chooses the cheapest plan of which it is so probable that it or
      a cheaper one suffices; 1 for the largest.

  Returns:
    Numbers of plans, [B], and how probable it is of each.
  """
  probability = scores.softmax(-1)
  if confidence is None:
    chosen = probability.argmax(-1)
  else:
    sure = torch.as_tensor(confidence, dtype=torch.float64).to(scores.device)
    # Summed from the expensive end, where what is left over is small and exact.
    rest = probability.flip(-1).cumsum(-1).flip(-1)[:, 1:].clamp(max=1)
    enough = (rest <= (1 - sure).float()) & (sure < 1)
    chosen = functional.pad(enough, (0, 1), value=True).int().argmax(-1)
  suffices = probability.cumsum(-1).gather(1, chosen[:, None])[:, 0]
  return chosen, suffices.clamp(max=1)


def keeping(facts: dict[str, Any], drop: float) -> float:
  """The cheapest confidence that loses at most a share of max's accuracy.

  As surely as it was calibrated for; the last point is max always.
  """
  curve = _curve(facts)
  if not 0 <= drop <= 1:
    raise ValueError(f"drop {drop}: expected a share of max's accuracy, 0 to 1")
  keeping = itertools.takewhile(lambda p: p[3] >= 1 - drop, reversed(curve))
  return min(keeping, key=lambda p: p[1])[0]


# What a budget may be a share of: where points have it, and in words.
BUDGET_OF = {
  'prefill': (1, "max's LLM prefill FLOPs"),
  'total': (4, "max's FLOPs end to end"),
}


def spending(
  facts: dict[str, Any],
  budget: float,
  hashes: torch.Tensor,
  budget_of: str = 'prefill',
) -> torch.Tensor:
  """The confidences, [B, 1], that spend a share of max's FLOPs on average.

  Args:
    facts: of the checkpoint.
    budget: the share.
    hashes: [B], of prompts, which decide between the two nearest confidences.
    budget_of: what it is a share of.
  """
  if budget_of not in BUDGET_OF:
    raise ValueError(
      f'budget_of is {budget_of!r}; expected one of {", ".join(BUDGET_OF)}'
    )
  curve, (at, words) = _curve(facts), BUDGET_OF[budget_of]
  if any(len(point) <= at or point[at] is None for point in curve):
    raise ValueError(
      f'budget {budget} of {words}: this router was calibrated without '
      'counting them'
    )
  for low, high in zip(curve, curve[1:]):
    least, most = low[at], high[at]
    if least <= budget <= most:
      share = (budget - least) / (most - least) if most > least else 0.0
      return torch.where(hashes[:, None] < share, high[0], low[0])
  # Rounded inward: both ends that are printed can be asked for.
  unit = decimal.Decimal('0.001')
  cheapest, largest = (
    decimal.Decimal(str(point[at])).quantize(unit, rounding)
    for point, rounding in (
      (curve[0], decimal.ROUND_CEILING),
      (curve[-1], decimal.ROUND_FLOOR),
    )
  )
  raise ValueError(
    f'budget {budget}: this router spends from {cheapest} to {largest} of '
    f'{words}'
  )


def prompt_hash(
  text: torch.Tensor, tiles: Iterable[torch.Tensor], vision: dict[str, Any]
) -> float:
  """A number in [0, 1) from a prompt's tokens and pixels alone.

  Args:
    text: tokens of the text, [T].
    tiles: of each image, [tiles, 3, height, width], normalised.
    vision: says how: `mean` and `std`.
  """
  mean, std = torch.tensor(vision['mean']), torch.tensor(vision['std'])
  pixels = [x.cpu().float().movedim(1, -1) * std + mean for x in tiles]
  pixels = torch.cat([torch.zeros(0), *(x.flatten() for x in pixels)])
  pixels = (pixels * 255).round().long()
  digest = _mixed(_digest(text.cpu() + 1, 1) ^ _digest(pixels, 2))
  return int(digest >> 8) / 2**24


def _curve(facts: dict[str, Any]) -> list[tuple[float, float, float]]:
  """(confidence, share of FLOPs, accuracy), rising."""
  if not facts['curve']:
    raise ValueError('this router was not calibrated: name a plan')
  return facts['curve']


def _digest(x: torch.Tensor, salt: int) -> torch.Tensor:
  """32 bits of integers [n]; zeros at the end change nothing."""
  weight = _mixed(torch.arange(len(x)) * 2 + salt) | 1
  return _mixed((x * weight & 0xFFFFFFFF).sum() & 0xFFFFFFFF)


def _mixed(x: torch.Tensor) -> torch.Tensor:
  """Every bit of 32 on every other: MurmurHash3's last steps."""
  for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
    x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
  return x ^ (x >> 16)

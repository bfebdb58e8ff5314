"""The values that keys of a config may have, one key at a time."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import math
import re
from typing import Any

import ml_collections

from visor_jax.benchmarks import scores
from visor_jax.data.sources import image_files
from visor_jax.data.suites import table as suites
from visor_jax.data.suites.pages import page as pages
from visor_jax.data.suites.pages import suite as page_suite
from visor_jax.runtime import identity
from visor_jax.spec import choice
from visor_jax.spec import shares
from visor_jax.training import losses
from visor_jax.training import stages
from visor_jax.training import weights

CHOICES = {
  'model.cross.init': tuple(weights.GRAFTS),
  'model.dtype': ('float32', 'bfloat16'),
  'optim.name': ('adamw', 'muon'),
  'optim.mu_dtype': ('float32', 'bfloat16'),
  'model.remat_policy': ('input', 'dots'),
  'model.attention': ('auto', 'chunked', 'flash', 'splash'),
  'data.suite': tuple(suites.SUITES),
  'data.pages.scale': tuple(pages.SCALES),
  'data.pages.unseen': pages.UNSEEN,
  'data.transparency': tuple(image_files.GROUNDS),
  'label.score': tuple(scores.SCORES),
  'label.all_wrong': ('skip', 'cheapest'),
  'policy.loss': tuple(losses.POLICIES),
  'policy.budget_of': tuple(shares.WORDS),
  'policy.select': ('confidence', 'argmax'),
  'eval.score': tuple(scores.SCORES),
}


@dataclasses.dataclass(frozen=True)
class Bound:
  """What keys with numbers may be.

  Attributes:
    expected: in words.
    holds: whether a number is.
    keys: paths of the keys.
    of_stages: keys that every training stage has.
  """

  expected: str
  holds: Callable[[float], bool]
  keys: tuple[str, ...]
  of_stages: tuple[str, ...] = ()

  def all_keys(self) -> list[str]:
    """Paths of the keys, those of the stages among them."""
    return [
      *self.keys,
      *(f'{stage}.{key}' for stage in stages.STAGES for key in self.of_stages),
    ]


SHARES = Bound(
  'between 0 and 1',
  lambda number: 0 <= number <= 1,
  (
    'label.threshold',
    'label.held_out',
    'policy.keep',
    'policy.budget',
    'data.max_bad_fraction',
  ),
  ('warmup', 'end_lr_fraction', 'max_share', 'full_token_fraction'),
)
PROBABILITIES = Bound(
  'above 0 and below 1', lambda number: 0 < number < 1, ('policy.level',)
)
COUNTS = Bound(
  'at least 1',
  lambda number: number >= 1,
  (
    'model.attention_chunk',
    'model.loss_chunk',
    'search.examples',
    'label.examples',
    'eval.examples',
    'eval.batch',
    'eval.chunk',
    'eval.max_new_tokens',
    'checkpoint.every',
    'checkpoint.keep',
    'log.every',
    'data.threads',
    'data.prefetch',
    'data.digits.frames',
    'data.window',
    'data.packed.text',
    'data.packed.tiles',
    'data.packed.prompts',
    'data.prompt.text',
    'data.prompt.tiles',
    'optim.max_nonfinite_steps',
  ),
  ('batch', 'accumulate'),
)
NOT_NEGATIVE = Bound(
  'at least 0',
  lambda number: number >= 0,
  (
    'seed',
    'data.planners',
    'optim.weight_decay',
    'optim.clip',
    'policy.features_gb',
    'data.digits.primers.base',
    'data.digits.primers.cross',
    'data.digits.primers.full',
  ),
  ('steps', 'learning_rate'),
)
DECAYS = Bound(
  'from 0 to below 1',
  lambda number: 0 <= number < 1,
  ('optim.b1', 'optim.b2'),
)
BOUNDS = (SHARES, PROBABILITIES, COUNTS, NOT_NEGATIVE, DECAYS)


def check(config: ml_collections.ConfigDict) -> None:
  """Checks every key by itself.

  Raises:
    ValueError: naming the key, what was given and what is expected.
  """
  values = identity.flatten(config)
  for key, value in values.items():
    if isinstance(value, float) and not math.isfinite(value):
      raise ValueError(f'{key} is {value}, no finite number')
  for key, choices in CHOICES.items():
    if values[key] not in choices:
      raise ValueError(f'{key} is {values[key]!r}, not one of {choices}')
  for bound in BOUNDS:
    for key in bound.all_keys():
      number: Any = values[key]
      if not bound.holds(number):
        raise ValueError(f'{key} is {number}, not {bound.expected}')
  for stage, counts in config.data.pages.primers.items():
    _check_primers(f'data.pages.primers.{stage}', counts)
  choice.check_confidence(config.policy.confidence, 'policy.confidence')
  _check_patterns(
    'optim.lr_scales',
    config.optim.lr_scales,
    lambda scale: 0 <= scale < math.inf,
    'a finite factor that is not negative',
  )
  _check_patterns(
    'optim.weight_decay_mask',
    config.optim.weight_decay_mask,
    lambda decays: decays in (True, False),
    'True or False',
  )
  if config.seed >= 2**63:
    raise ValueError(f'seed is {config.seed}; expected less than 2**63')
  trace = config.log.trace
  if trace and not (len(trace) == 2 and 0 <= trace[0] <= trace[1]):
    raise ValueError(
      f'log.trace is {trace}; expected (first, last) '
      'of the steps to trace, or ()'
    )


def _check_primers(key: str, counts: Sequence[Any]) -> None:
  """Checks how many pages a stage begins with of each primer."""
  most = len(page_suite.PRIMERS)
  if len(counts) > most or not all(
    isinstance(count, int) and not isinstance(count, bool) and count >= 0
    for count in counts
  ):
    raise ValueError(
      f'{key} is {counts!r}; expected a whole number of pages, at least 0, for '
      f'each of the {most} primers or the first of them; () for none'
    )


def _check_patterns(
  key: str,
  patterns: Sequence[tuple[str, Any]],
  holds: Callable[[Any], bool],
  expected: str,
) -> None:
  """Checks patterns of parameter paths, each with a value."""
  for pattern, value in patterns:
    try:
      re.compile(pattern)
    except re.error as e:
      raise ValueError(
        f'{key} has "{pattern}", no regular expression: {e}'
      ) from None
    if not isinstance(value, int | float) or not holds(value):
      raise ValueError(
        f'{key} has {value!r} for "{pattern}"; expected {expected}'
      )

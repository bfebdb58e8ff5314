"""What a row of results holds, as far as the report reads it."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import math
import sys
from typing import Any
from typing import NamedTuple

from visor_jax.report import average
from visor_jax.spec import choice
from visor_jax.spec import shares

SELECTORS = ('base', 'fixed', 'router')


class _Kind(NamedTuple):
  """What a field may be: in words, and as a test."""

  words: str
  holds: Callable[[Any], bool]


def _number(value: Any, least: float = 0, integer: bool = False) -> bool:
  """Whether it is finite and no less; true and false are no numbers."""
  return (
    isinstance(value, int if integer else (int, float))
    and not isinstance(value, bool)
    and least <= value <= sys.float_info.max  # false for NaN as well
  )


def _one_of(known: Iterable[str]) -> _Kind:
  known = tuple(known)
  return _Kind(f'one of {", ".join(known)}', known.__contains__)


def _or_null(kind: _Kind) -> _Kind:
  return _Kind(
    f'{kind.words}, or null', lambda value: value is None or kind.holds(value)
  )


def _is_chosen(value: Any) -> bool:
  if not isinstance(value, dict):
    return False
  try:
    sorted(value, key=average.plan_order)
  except ValueError:
    return False
  return all(map(_COUNT.holds, value.values()))


_TEXT = _Kind('a text', lambda value: isinstance(value, str))
_NAME = _Kind('a name', lambda v: isinstance(v, str) and bool(v.strip()))
_OBJECT = _Kind('an object', lambda value: isinstance(value, dict))
_TRUTH = _Kind('true or false', lambda value: isinstance(value, bool))
_SHARE = _Kind('0 to 1', choice.is_share)
_FROM_0 = _Kind('a finite number from 0 on', _number)
_ABOVE_0 = _Kind('a finite number above 0', lambda v: _number(v) and v > 0)
_WHOLE = _Kind('a whole number', lambda v: _number(v, -math.inf, integer=True))
_COUNT = _Kind('a whole number above 0', lambda v: _number(v, 1, integer=True))
_RANGE = _Kind(
  'a list of the least and the most',
  lambda v: isinstance(v, list) and len(v) == 2 and all(map(_number, v)),
)
_PLAN = _Kind(
  'a list of 0 and 1',
  lambda v: isinstance(v, list) and all(on in (0, 1) for on in v),
)
_CHOSEN = _Kind('an object of names of plans with their counts', _is_chosen)

# What the report reads of a row: what all have, what comes together, the rest.
_NEEDED = {
  'family': _NAME,
  'group': _one_of(average.GROUPS),
  'selector': _one_of(SELECTORS),
  'plan': _or_null(_PLAN),
  'accuracy': _SHARE,
  'n': _COUNT,
  'llm_prefill_flops': _ABOVE_0,
  'flops_saved': _ABOVE_0,
}
_TOGETHER = (
  {
    'total_flops': _ABOVE_0,
    'total_saved': _ABOVE_0,
    'visual_flops': _FROM_0,
    'vision_flops': _FROM_0,
    'decode_flops': _FROM_0,
    'cache_bytes': _FROM_0,
  },
  {'promised': _ABOVE_0, 'delivered': _or_null(_FROM_0)},
)
_OPTIONAL = {
  'budget': _ABOVE_0,
  'budget_of': _one_of(shares.WORDS),
  'drop': _SHARE,
  'method': _or_null(_TEXT),
  'method_asked': _or_null(_TEXT),
  'chosen': _or_null(_CHOSEN),
  'measured': _or_null(_OBJECT),
  'judged': _or_null(_TRUTH),
  'too_long': _or_null(_WHOLE),
  'broken': _or_null(_WHOLE),
  'repeated': _or_null(_WHOLE),
  'accounting': _or_null(_TEXT),
  'config': _or_null(_TEXT),
  'seed': _or_null(_WHOLE),
  'versions': _or_null(_OBJECT),
}
# And of `measured`, where there is one.
_MEASURED = {
  'first_token_s': _ABOVE_0,
  'tokens_per_s': _FROM_0,
  'peak_bytes': _FROM_0,
  'batch': _COUNT,
  'device': _TEXT,
  'devices': _COUNT,
}
_RANGES = {'first_token_range_s': _RANGE, 'tokens_per_s_range': _RANGE}


def complaint(row: average.Row) -> str | None:
  """What is wrong with a row of results, None where all is well."""
  needed, optional = dict(_NEEDED), dict(_OPTIONAL)
  for kinds in _TOGETHER:
    if kinds.keys() & row.keys():
      needed |= kinds
  misfit = _misfit(row, needed, optional)
  if misfit:
    return misfit
  if row['selector'] == 'fixed' and row['plan'] is None:
    return '"plan" is None; a fixed selector needs a list'
  if row.get('measured'):
    return _misfit(row['measured'], _MEASURED, _RANGES, 'measured.')
  return None


def _misfit(
  values: Mapping[str, Any],
  needed: Mapping[str, _Kind],
  optional: Mapping[str, _Kind],
  prefix: str = '',
) -> str | None:
  """The first that is missing or of another kind, None where all is well."""
  for key, kind in {**needed, **optional}.items():
    if key not in values and key in needed:
      return f'"{prefix}{key}" is missing, expected {kind.words}'
    if key in values and not kind.holds(values[key]):
      return f'"{prefix}{key}" is {values[key]!r}, expected {kind.words}'
  return None

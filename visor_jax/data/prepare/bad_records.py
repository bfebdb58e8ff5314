"""Bad records by reason, with the first few of each: JSON all along."""

from collections.abc import Iterable
from typing import TypedDict

from visor_jax.data.sources import records

NAMED = 10  # ids that are told of each reason


class Reason(TypedDict):
  """Bad records of one reason.

  Attributes:
    count: how many there are.
    first: ids of the first of them.
    detail: what is wrong with the very first.
  """

  count: int
  first: list[str]
  detail: str


Reasons = dict[str, Reason]  # by records.REASONS


def add(reasons: Reasons, error: records.BadRecord) -> None:
  """Adds a bad record to those that are counted."""
  one = Reason(count=1, first=[error.id], detail=error.detail)
  _add(reasons, error.reason, one)


def merge(parts: Iterable[Reasons]) -> Reasons:
  """The counts of several parts, in order, as those of one."""
  merged: Reasons = {}
  for part in parts:
    for reason, more in part.items():
      _add(merged, reason, more)
  return merged


def _add(reasons: Reasons, reason: str, more: Reason) -> None:
  known = reasons.setdefault(
    reason, Reason(count=0, first=[], detail=more['detail'])
  )
  known['count'] += more['count']
  known['first'] = (known['first'] + more['first'])[:NAMED]


def total(reasons: Reasons) -> int:
  """How many records are bad."""
  return sum(known['count'] for known in reasons.values())


def describe(reasons: Reasons) -> str:
  """'3 are bad: 2 missing image (a, b; a: IMAGES/a.png: No such file), ...'."""
  parts = []
  for reason, known in sorted(reasons.items()):
    ids = ', '.join(known['first'])
    if known['count'] > len(known['first']):
      ids += ', ...'
    if known['detail']:
      ids += f'; {known["first"][0]}: {known["detail"]}'
    parts.append(f'{known["count"]} {reason} ({ids})')
  return f'{total(reasons)} are bad: ' + ', '.join(parts)

"""Bad records by reason, with the ids of the first few: JSON all along."""

from collections.abc import Iterable
from typing import TypedDict

NAMED = 10  # ids that are told of each reason


class Reason(TypedDict):
  """Bad records of one reason.

  Attributes:
    count: how many there are.
    first: ids of the first of them.
  """

  count: int
  first: list[str]


Reasons = dict[str, Reason]  # by records.REASONS


def add(reasons: Reasons, reason: str, count: int, ids: list[str]) -> None:
  """Adds bad records to those that are counted.

  Args:
    reasons: the counts, which change.
    reason: what is wrong.
    count: how many more.
    ids: ids of the first of these.
  """
  known = reasons.setdefault(reason, Reason(count=0, first=[]))
  known['count'] += count
  known['first'] = (known['first'] + ids)[:NAMED]


def merge(parts: Iterable[Reasons]) -> Reasons:
  """The counts of several parts, in order, as those of one."""
  merged: Reasons = {}
  for part in parts:
    for reason, known in part.items():
      add(merged, reason, known['count'], known['first'])
  return merged


def total(reasons: Reasons) -> int:
  """How many records are bad."""
  return sum(known['count'] for known in reasons.values())


def describe(reasons: Reasons) -> str:
  """'3 are bad: 2 missing image (a, b), 1 no turns (c)'."""
  parts = []
  for reason, known in sorted(reasons.items()):
    ids = ', '.join(known['first'])
    if known['count'] > len(known['first']):
      ids += ', ...'
    parts.append(f'{known["count"]} {reason} ({ids})')
  return f'{total(reasons)} are bad: ' + ', '.join(parts)

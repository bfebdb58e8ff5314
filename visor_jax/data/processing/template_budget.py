"""What the rendering of a chat template may take: steps and characters.

The measure is the same everywhere; the clock, of this thread alone, only ends
what slips through.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import re
import threading
import time
from typing import Any

WORK = 30_000_000  # characters, and steps times STEP, of a rendering
STEP = 50
NUMBER = 100_000  # the largest that anything is called with, as widths are
SECONDS = 3.0  # of this thread's own time
CHECKED = 5_000  # characters after which it is looked at

_DIGITS = re.compile(r'\d{1,20}')


class Refused(Exception):
  """A template says no, or takes more than it may."""


class Budget(threading.local):
  """What is left for the rendering of this thread."""

  left, checked, end = WORK, WORK, float('inf')

  def begin(self) -> None:
    self.left, self.checked = WORK, WORK - CHECKED
    self.end = time.thread_time() + SECONDS

  def spend(self, characters: int) -> None:
    """Takes a step's part.

    Raises:
      Refused: nothing is left.
    """
    self.left -= STEP + characters
    if self.left < self.checked:
      self._check()

  def _check(self) -> None:
    self.checked = max(0, self.left - CHECKED)
    if self.left < 0 or time.thread_time() > self.end:
      raise Refused(
        f'takes more than the {WORK // STEP} steps or {WORK} characters that a '
        'conversation may take'
      )


class Steps:
  """What a loop goes through, each step paid for."""

  def __init__(self, budget: Budget, values: Iterable[Any]):
    self._budget, self._values = budget, values

  def __len__(self) -> int:
    return len(self._values)  # type: ignore[arg-type]  # as without it

  def __iter__(self) -> Iterator[Any]:
    for value in self._values:
      self._budget.spend(0)
      yield value


def call_size(name: str, values: Sequence[Any]) -> int:
  """At least the characters that a call reads and makes.

  Args:
    name: of the function, filter or operator.
    values: what it is called with; a method's own object first.

  Raises:
    Refused: it is called with a number that is larger than any text.
  """
  size = sum(
    depth_size(v) if name in _READS_ALL else len(v)
    for v in values
    if isinstance(v, _SIZED)
  )
  if name in _FORMATS:  # widths may stand in a tuple
    values = [*values, *(w for v in values if isinstance(v, tuple) for w in v)]
  numbers = [abs(v) for v in values if isinstance(v, int)]
  texts = [v for v in values if isinstance(v, str)]
  number = max(numbers, default=0)
  if number > NUMBER:
    raise Refused(f'calls {name} with {str(number)[:20]}')
  if name == '**':
    return number * number
  if name in _BY_NUMBER:
    return max(size, 1) * max(number, 1)
  if name in _FORMATS:
    widths = map(int, _DIGITS.findall(texts[0] if texts else ''))
    return size + sum(widths)
  if name == 'replace' and len(texts) > 2:
    return size + (texts[0].count(texts[1]) + 1) * len(texts[2])
  if name == 'join':
    longest = max((len(v) for v in values if isinstance(v, _SIZED)), default=0)
    return size + sum(map(len, texts)) * longest
  return size + number


HOLDING = (list, tuple, dict)
_SIZED = (str, bytes, range, *HOLDING)
_FORMATS = ('%', 'format', 'format_map')
_BY_NUMBER = ('*', 'expandtabs', 'indent', 'batch', 'slice')
_READS_ALL = (*_FORMATS, '*', 'join', 'string', 'tojson', 'pprint', 'replace')


def depth_size(value: Any) -> int:
  """Characters and elements of what lists hold, and the lists in them.

  Raises:
    Refused: they are more than a rendering may take.
  """
  size, pending = 0, [value]
  while pending:
    value = pending.pop()
    size += STEP
    if isinstance(value, str | bytes):
      size += len(value)
    elif isinstance(value, dict):
      pending += [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple):
      pending += value
    if size > WORK:
      raise Refused('builds lists larger than any conversation')
  return size

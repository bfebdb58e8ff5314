"""Which conversations share a row: row r of a run is a pure function of r.

Window w is the draws w * n .. (w + 1) * n of the run and always makes the same
number of rows, so row r lies in window r // rows. The conversations are sorted
by size; each goes to the emptiest row that has room, which fills all rows alike
instead of leaving the last ones empty. How many rows are needed depends on
chance: `rows_for` measures it and leaves a little room. What a window still
cannot place is offered to the holes of the next, and only to them. So a row
asks for the lengths of two windows of draws, wherever in the run it is.

Rows fill well where V is a multiple of the largest image with a small one added
to it: two pages of 7353 tokens leave a hole in 16384, not in 18432.
"""

import bisect
import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import copy
import dataclasses
import functools
import math
import threading
from typing import NamedTuple

import numpy as np

from visor_jax.data.pipeline import order as order_lib
from visor_jax.spec import batch as batch_lib

SLOTS = ('text', 'visual', 'tiles', 'prompts')  # of batch.RowShape
COUNTED = ('cut', 'long', 'bad', 'late', 'lost')  # of Window

# Draws -> int [turns, 4] of each: the `SLOTS` that the record takes if cut to
# its first 1, 2, ... turns; [0, 4] for a bad record.
Lengths = Callable[[Sequence[order_lib.Draw]], Iterable[np.ndarray]]


class Piece(NamedTuple):
  """A conversation in a row.

  Attributes:
    number: number of the draw.
    draw: the record.
    turns: how many of its turns are in the row, from the first on.
    need: slots that it takes, see `SLOTS`.
  """

  number: int
  draw: order_lib.Draw
  turns: int
  need: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Window:
  """Rows that were packed together, and what became of each draw.

  Every draw of the window is `placed`, `left`, `long` or `bad`; every one that
  the window before has left is `late` or `lost`.

  Attributes:
    rows: the Pieces of each row, in order of their draws.
    padding: share of each of `SLOTS` that stays empty.
    placed: numbers of this window's draws that have a row in it.
    left: those that have none, and are offered to the next window.
    long: those whose first turn alone is more than a row holds.
    bad: those of which no length is known.
    cut: those that were cut at the end of a turn, to fit.
    late: draws of the window before that have a row in this one.
    lost: those that have none here either.
  """

  rows: tuple[tuple[Piece, ...], ...]
  padding: dict[str, float]
  placed: tuple[int, ...]
  left: tuple[int, ...]
  long: tuple[int, ...]
  bad: tuple[int, ...]
  cut: tuple[int, ...]
  late: tuple[int, ...]
  lost: tuple[int, ...]


class Windows:
  """The rows of a run.

  Args:
    order: which record each draw of the run is.
    lengths: slots that records take. A pure function, and a fast one: it is
      asked for every draw by every host.
    shape: slots of a row.
    draws: how many make a window.
    rows: how many a window makes, see `rows_for`.

  Attributes:
    counts: Counter of the draws that are cut, long, bad, late or lost in the
      windows that were asked for.

  Raises:
    ValueError: there are no draws or no rows.
  """

  def __init__(
    self,
    order: order_lib.Order,
    lengths: Lengths,
    shape: batch_lib.RowShape,
    draws: int,
    rows: int,
  ):
    if draws < 1 or rows < 1:
      raise ValueError(
        f'windows of {draws} draws and {rows} rows; expected one of each at '
        'least'
      )
    self.order, self.lengths, self.shape = order, lengths, shape
    self.draws, self.rows = draws, rows
    self.counts: collections.Counter[str] = collections.Counter()
    # Threads ask for rows of one window; the first plans it, the rest wait.
    self._lock = threading.RLock()
    self._alone = functools.lru_cache(maxsize=4)(self._pack_alone)
    self._window = functools.lru_cache(maxsize=4)(self._pack)

  def row(self, number: int) -> tuple[Piece, ...]:
    """The Pieces of row `number` of the run, from 0 on."""
    window, at = divmod(number, self.rows)
    return self.window(window).rows[at]

  def window(self, number: int) -> Window:
    """Window `number` of the run, from 0 on."""
    with self._lock:
      return self._window(number)

  def _pack(self, number: int) -> Window:
    measured, bins, left = self._alone(number)
    bins = copy.deepcopy(bins)  # that of the cache stays as it is
    before = self._alone(number - 1)[2] if number else []
    lost = bins.pack(before)
    # Bins were begun by the largest first; a step should see all sizes.
    key = f'window/{self.order.seed}/{number}'
    rows = [
      bins.pieces[order_lib.shuffled(i, self.rows, key)]
      for i in range(self.rows)
    ]
    window = Window(
      rows=tuple(tuple(sorted(row)) for row in rows),
      padding=dict(zip(SLOTS, bins.padding())),
      placed=_numbers(set(measured.pieces) - set(left)),
      left=_numbers(left),
      cut=_numbers(measured.cut),
      long=tuple(measured.long),
      bad=tuple(measured.bad),
      late=_numbers(set(before) - set(lost)),
      lost=_numbers(lost),
    )
    self.counts.update({name: len(getattr(window, name)) for name in COUNTED})
    return window

  def _pack_alone(self, number: int) -> tuple['_Draws', '_Bins', list[Piece]]:
    """A window before it takes in what the one in front has left."""
    measured = _measure(
      self.order, self.lengths, self.shape, self.draws, number
    )
    bins = _Bins(self.rows, self.shape)
    return measured, bins, bins.pack(measured.pieces)


def rows_for(
  order: order_lib.Order,
  lengths: Lengths,
  shape: batch_lib.RowShape,
  draws: int,
  windows: int = 4,
) -> int:
  """How many rows hold a window of so many draws.

  Args:
    order: which record each draw of the run is.
    lengths: slots that records take.
    shape: slots of a row.
    draws: how many make a window.
    windows: how many are measured, from the run's first on.

  Returns:
    Mean and two standard deviations of the rows that the measured windows need.
  """
  needed = []
  for number in range(windows):
    pieces = _measure(order, lengths, shape, draws, number).pieces
    total = np.sum([p.need for p in pieces], axis=0)
    least = math.ceil((total / np.maximum(_slots(shape), 1)).max())
    counts = range(max(1, least), draws + 1)

    def suffice(count: int, pieces: list[Piece] = pieces) -> bool:
      return not _Bins(count, shape).pack(pieces)

    needed.append(counts[bisect.bisect_left(counts, True, key=suffice)])
  return math.ceil(np.mean(needed) + 2 * np.std(needed))


@dataclasses.dataclass(frozen=True)
class _Draws:
  """The draws of a window, before they are packed; see `Window`."""

  pieces: list[Piece] = dataclasses.field(default_factory=list)
  cut: list[Piece] = dataclasses.field(default_factory=list)
  long: list[int] = dataclasses.field(default_factory=list)
  bad: list[int] = dataclasses.field(default_factory=list)


def _measure(
  order: order_lib.Order,
  lengths: Lengths,
  shape: batch_lib.RowShape,
  draws: int,
  window: int,
) -> _Draws:
  """What the draws of a window need, each cut to what a row can hold."""
  measured, slots = _Draws(), _slots(shape)
  numbers = range(window * draws, (window + 1) * draws)
  drawn = [order.draw(number) for number in numbers]
  for number, draw, needs in zip(numbers, drawn, lengths(drawn), strict=True):
    fits = np.flatnonzero((needs <= slots).all(1))
    if not len(needs):
      measured.bad.append(number)
    elif not len(fits):
      measured.long.append(number)
    else:
      turns = int(fits[-1]) + 1
      piece = Piece(number, draw, turns, tuple(needs[turns - 1].tolist()))
      measured.pieces.append(piece)
      if turns < len(needs):
        measured.cut.append(piece)
  return measured


class _Bins:
  """Rows that are being filled.

  Attributes:
    slots: int [4] of a row.
    free: int [4, rows], the slots that are left.
    load: int [rows], how full a row is.
    pieces: a list for each row.
  """

  def __init__(self, count: int, shape: batch_lib.RowShape):
    self.slots = _slots(shape)
    self.free = np.repeat(self.slots[:, None], count, axis=1)
    self.load = np.zeros(count, np.int64)
    self.pieces: list[list[Piece]] = [[] for _ in range(count)]

  def pack(self, pieces: Sequence[Piece]) -> list[Piece]:
    """Places what fits, the largest first, and returns the rest."""
    rest = []
    needs = np.array([p.need for p in pieces], np.int64).reshape(-1, len(SLOTS))
    # In millionths, because whole numbers sort alike on every machine.
    shares = needs * 1_000_000 // np.maximum(self.slots, 1)
    for i in np.argsort(-shares.max(1), kind='stable'):
      roomy = np.flatnonzero((self.free >= needs[i][:, None]).all(0))
      if not len(roomy):
        rest.append(pieces[i])
        continue
      emptiest = roomy[self.load[roomy].argmin()]
      self.free[:, emptiest] -= needs[i]
      self.load[emptiest] += shares[i].sum()
      self.pieces[emptiest].append(pieces[i])
    return rest

  def padding(self) -> list[float]:
    """Share of each of `SLOTS` that is empty."""
    total = len(self.pieces) * np.maximum(self.slots, 1)
    return (self.free.sum(1) / total).tolist()


def _slots(shape: batch_lib.RowShape) -> np.ndarray:
  return np.array([getattr(shape, name) for name in SLOTS])


def _numbers(pieces: Iterable[Piece]) -> tuple[int, ...]:
  return tuple(sorted(p.number for p in pieces))

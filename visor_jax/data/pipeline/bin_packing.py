"""Which conversations share a row: row r of a run is a pure function of r.

Window w is the draws w * n .. (w + 1) * n of the run and always makes the same
number of rows, so row r lies in window r // rows. The conversations are sorted
by size; each goes to the emptiest row that has room, which fills all rows alike
instead of leaving the last ones empty. How many rows are needed depends on
chance: `rows_for` measures it and leaves a little room. What a window still
cannot place is offered to the holes of the next, and only to them. So a row
asks for the lengths of two windows of draws, wherever in the run it is.

Rows fill well where V is a multiple of the largest image with a small one added
to it: two pages of LLaVA-OneVision (7353) leave a hole in 16384, not in 18432.
"""

import bisect
import collections
import copy
import dataclasses
import functools
import math
import threading
from typing import NamedTuple

import numpy as np

from visor_jax.data.pipeline import order as order_lib
from visor_jax.data.processing import packing

SLOTS = ('text', 'visual', 'tiles', 'prompts')  # of packing.Shape
COUNTED = ('cut', 'long', 'bad', 'late', 'lost')  # of Window


class Piece(NamedTuple):
  """A conversation in a row.

  Attributes:
    number: of the draw.
    draw: the record.
    turns: it is cut to so many, from the first on.
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
    placed: numbers of this window's draws that found a row in it.
    left: those that did not, and are offered to the next window.
    long: those whose first turn alone is more than a row holds.
    bad: those of which no length is known.
    cut: those that were cut at the end of a turn, to fit.
    late: draws of the window before that found a row in this one.
    lost: those that did not find one here either.
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
    order: the run's order.Order.
    lengths: (source, index) -> int [turns, 4], `SLOTS` that the record takes
      if cut to its first 1, 2, ... turns; [0, 4] for a record that is bad. A
      pure function, and a fast one: it is asked for every draw by every host.
    shape: packing.Shape of a row.
    draws: of a window.
    rows: that a window makes, see `rows_for`.

  Attributes:
    counts: Counter of the draws that are cut, long, bad, late or lost in the
      windows that were asked for.

  Raises:
    ValueError: there are no draws or no rows.
  """

  def __init__(
    self, order, lengths, shape: packing.Shape, draws: int, rows: int
  ):
    if draws < 1 or rows < 1:
      raise ValueError(
        f'windows of {draws} draws and {rows} rows; expected some of both'
      )
    self.order, self.lengths, self.shape = order, lengths, shape
    self.draws, self.rows = draws, rows
    # Threads ask for rows of one window; the first plans it, the rest wait.
    self.counts = collections.Counter()
    self._lock = threading.RLock()
    self._alone = functools.lru_cache(maxsize=4)(self._alone)
    self._window = functools.lru_cache(maxsize=4)(self._window)

  def row(self, number: int) -> tuple[Piece, ...]:
    """The Pieces of row `number` of the run, from 0 on."""
    window, at = divmod(number, self.rows)
    return self.window(window).rows[at]

  def window(self, number: int) -> Window:
    """Window `number` of the run, from 0 on."""
    with self._lock:
      return self._window(number)

  def _window(self, number):
    asked, rows, left = self._alone(number)
    rows = copy.deepcopy(rows)  # that of the cache stays as it is
    before = self._alone(number - 1)[2] if number else []
    lost = rows.place(before)
    # Rows were begun by the largest first; a step should see all sizes.
    at = lambda i: order_lib.shuffled(
      i, self.rows, f'window/{self.order.seed}/{number}'
    )
    padding = rows.free.sum(1) / (self.rows * np.maximum(rows.slots, 1))
    made = Window(
      rows=tuple(tuple(sorted(rows.pieces[at(i)])) for i in range(self.rows)),
      padding=dict(zip(SLOTS, padding.tolist())),
      placed=_numbers(set(asked.pieces) - set(left)),
      left=_numbers(left),
      cut=_numbers(asked.cut),
      long=tuple(asked.long),
      bad=tuple(asked.bad),
      late=_numbers(set(before) - set(lost)),
      lost=_numbers(lost),
    )
    self.counts.update({name: len(getattr(made, name)) for name in COUNTED})
    return made

  def _alone(self, number):
    """A window before it takes in what the one in front has left."""
    asked = _ask(self.order, self.lengths, self.shape, self.draws, number)
    rows = _Rows(self.rows, self.shape)
    return asked, rows, rows.place(asked.pieces)


def rows_for(
  order, lengths, shape: packing.Shape, draws: int, windows: int = 4
) -> int:
  """How many rows hold a window of so many draws.

  Args:
    order: as for `Windows`.
    lengths: likewise.
    shape: likewise.
    draws: likewise.
    windows: measured, the first of the run.

  Returns:
    Mean and two standard deviations of the rows that the measured windows need.
  """
  needed = []
  for number in range(windows):
    pieces = _ask(order, lengths, shape, draws, number).pieces
    total = np.sum([p.need for p in pieces], axis=0)
    least = math.ceil((total / np.maximum(_slots(shape), 1)).max())
    tries = range(max(1, least), draws + 1)
    needed.append(
      tries[
        bisect.bisect_left(
          tries, True, key=lambda n: not _Rows(n, shape).place(pieces)
        )
      ]
    )
  return math.ceil(np.mean(needed) + 2 * np.std(needed))


@dataclasses.dataclass(frozen=True)
class _Asked:
  """The draws of a window, before they are placed; see `Window`."""

  pieces: list = dataclasses.field(default_factory=list)
  cut: list = dataclasses.field(default_factory=list)
  long: list = dataclasses.field(default_factory=list)
  bad: list = dataclasses.field(default_factory=list)


def _ask(order, lengths, shape, draws, window):
  asked, slots = _Asked(), _slots(shape)
  for number in range(window * draws, (window + 1) * draws):
    draw = order.draw(number)
    needs = lengths(draw.source, draw.index)
    fits = np.flatnonzero((needs <= slots).all(1))
    if not len(needs):
      asked.bad.append(number)
    elif not len(fits):
      asked.long.append(number)
    else:
      turns = int(fits[-1]) + 1
      piece = Piece(number, draw, turns, tuple(needs[turns - 1].tolist()))
      asked.pieces.append(piece)
      if turns < len(needs):
        asked.cut.append(piece)
  return asked


class _Rows:
  """Rows that are being filled.

  Attributes:
    slots: int [4] of a row.
    free: int [4, rows], the slots that are left.
    load: int [rows], how full a row is.
    pieces: a list for each row.
  """

  def __init__(self, count, shape):
    self.slots = _slots(shape)
    self.free = np.repeat(self.slots[:, None], count, axis=1)
    self.load = np.zeros(count, np.int64)
    self.pieces = [[] for _ in range(count)]

  def place(self, pieces):
    """Places what fits, the largest first, and returns the rest."""
    rest = []
    needs = np.array([p.need for p in pieces], np.int64).reshape(-1, len(SLOTS))
    # In millionths, because whole numbers sort alike on every machine.
    shares = needs * 1_000_000 // np.maximum(self.slots, 1)
    for i in np.argsort(-shares.max(1), kind='stable'):
      need = needs[i][:, None]
      room = np.flatnonzero((self.free >= need).all(0))
      if not len(room):
        rest.append(pieces[i])
        continue
      row = room[self.load[room].argmin()]
      self.free[:, row] -= needs[i]
      self.load[row] += shares[i].sum()
      self.pieces[row].append(pieces[i])
    return rest


def _slots(shape):
  return np.array([getattr(shape, name) for name in SLOTS])


def _numbers(pieces):
  return tuple(sorted(p.number for p in pieces))

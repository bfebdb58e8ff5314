"""What stands on a page, before it is drawn.

A page is a list of items, a word with its numbers, one below the other: as a
receipt, a form, a table or a chart. How hard a question is depends on the page:
on two lines or many, in one column or two, and with numbers in their place or,
as on tax forms, on another line that a line refers to.
"""

from collections.abc import Sequence
import dataclasses
import functools
import zlib

import numpy as np

from visor_jax.data.suites.pages import typefaces

KEYS = tuple(
  'milk rice eggs salt corn beef figs nuts pear plum lime kale '
  'leek soup tofu cake oats fish bean beet tea jam oil ham'.split()
)
CHARTS = ('bars', 'curve', 'pie')
KINDS = ('receipt', 'form', 'table', *CHARTS)
HELD_OUT_KIND = 'menu'  # no page that is learned from is one
COLUMNS = ('left', 'right')  # of a table
BACKGROUNDS = {
  'white': (250, 250, 246),
  'yellow': (255, 240, 170),
  'pink': (255, 210, 220),
  'sky': (200, 230, 255),
}
INKS = {'black': (15, 15, 15), 'blue': (10, 40, 170), 'red': (170, 15, 25)}
SEE = '='  # before the number of the line that is referred to
UNSEEN = ('', 'typeface', 'kind')

_TURNED = 0.2  # share of pages that lie on their side
_SMALL = 0.3  # share of pages with numbers of one digit
_STAINED = 0.5  # share of pages with stains
_ELSEWHERE = 0.35  # share of lines that refer to another, but on charts
_TEST = 5  # one in so many lines is of the test split


@dataclasses.dataclass(frozen=True)
class Scale:
  """How large pages are, and what stands on them.

  Attributes:
    line: height of a line, of a tile, and side of a patch, in pixels.
    lines: of a page, which is as wide as it is high.
    highest: the highest number.
  """

  line: int
  lines: int
  highest: int

  @property
  def width(self) -> int:
    """Of a page in pixels."""
    return self.line * self.lines


# A patch is a line high: text on the seam of two rows of patches is not read.
SCALES = {'small': Scale(16, 8, 99), 'large': Scale(32, 14, 999)}


def scale(name: str) -> Scale:
  """The scale of that name.

  Raises:
    ValueError: there is none.
  """
  if name not in SCALES:
    raise ValueError(
      f'data.pages.scale is "{name}"; expected one of {", ".join(SCALES)}'
    )
  return SCALES[name]


@dataclasses.dataclass(frozen=True)
class Item:
  """A line: a word and its numbers, one for each column.

  Attributes:
    key: the word.
    numbers: in order of columns.
    see: the line that it refers to, from 1: its numbers stand there; 0 where
      they stand on this one.
  """

  key: str
  numbers: tuple[int, ...]
  see: int = 0


@dataclasses.dataclass(frozen=True)
class Page:
  """What questions are asked of.

  Attributes:
    kind: receipt, form and so on.
    items: from the first line on.
    highest: the highest number that it could hold.
    written: numbers are written, not only drawn as a chart.
    upright: it does not lie on its side.
    stained: it has stains.
    background: name of its colour.
    ink: name of its colour.
    typeface: a name in typefaces.FILES.
  """

  kind: str
  items: tuple[Item, ...]
  highest: int
  written: bool
  upright: bool
  stained: bool
  background: str
  ink: str
  typeface: str

  @property
  def columns(self) -> int:
    """Of numbers."""
    return len(self.items[0].numbers)

  def written_at(self, index: int) -> int:
    """Index of the line where a line's numbers stand: itself, or another."""
    see = self.items[index].see
    return see - 1 if see else index


@functools.cache
def numbers(key: str, highest: int, step: int, test: bool) -> tuple[int, ...]:
  """Numbers that may stand behind a word: a line is of one split alone.

  Args:
    key: the word.
    highest: the highest number.
    step: numbers are multiples of it.
    test: the split is that of the test.
  """
  return tuple(
    number
    for number in range(step, highest + 1, step)
    if test == (zlib.crc32(f'{key} {number}'.encode()) % _TEST == 0)
  )


def compose(
  rng: np.random.Generator, scale: Scale, test: bool, unseen: str = ''
) -> Page:
  """Draws what stands on a page.

  Args:
    rng: draws it.
    scale: its size.
    test: its lines are those of the test split.
    unseen: 'typeface' or 'kind' for one that is never learned from.
  """
  kind = HELD_OUT_KIND if unseen == 'kind' else str(rng.choice(KINDS))
  written = kind not in ('bars', 'curve') or rng.random() < 0.5
  highest = 9 if written and rng.random() < _SMALL else scale.highest
  stained = bool(rng.random() < _STAINED)
  typeface = str(rng.choice(typefaces.TRAINED))
  page = Page(
    kind=kind,
    items=(),
    highest=highest,
    written=written,
    upright=bool(rng.random() >= _TURNED),
    stained=stained,
    background=str(rng.choice(list(BACKGROUNDS))),
    ink=str(rng.choice(list(INKS))),
    typeface=typefaces.HELD_OUT if unseen == 'typeface' else typeface,
  )
  count = int(rng.integers(2, scale.lines + 1))
  return dataclasses.replace(page, items=_items(rng, page, count, test, count))


def full(
  rng: np.random.Generator,
  scale: Scale,
  test: bool,
  part: int,
  charts: bool = True,
) -> Page:
  """A page to learn reading from: upright, clean, with as many lines as it has.

  Args:
    rng: draws it.
    scale: its size.
    test: its lines are those of the test split.
    part: lines of each of the parts that it can be cut into: a line refers to
      one of its own part, counted from the first.
    charts: it may be a chart, where no line refers to another.
  """
  while True:
    page = compose(rng, scale, test)
    if page.upright and (charts or page.kind not in CHARTS):
      page = dataclasses.replace(page, stained=False)
      return dataclasses.replace(
        page, items=_items(rng, page, scale.lines, test, part)
      )


def _items(
  rng: np.random.Generator, page: Page, count: int, test: bool, part: int
) -> tuple[Item, ...]:
  """The lines of a page."""
  # What can only be estimated is a multiple of a twentieth.
  step = 1 if page.written else (page.highest + 1) // 20
  columns = len(COLUMNS) if page.kind == 'table' else 1
  items: list[Item] = []
  for key in rng.permutation(KEYS):
    choices: Sequence[int] = numbers(str(key), page.highest, step, test)
    if len(choices) < columns:
      continue
    drawn = tuple(map(int, rng.choice(choices, columns, replace=False)))
    items.append(Item(str(key), drawn))
    if len(items) == count:
      break
  if page.kind not in CHARTS:
    for first in range(0, len(items), part):
      _refer(rng, items, range(first, min(first + part, len(items))))
  return tuple(items)


def _refer(rng: np.random.Generator, items: list[Item], part: range) -> None:
  """Has some lines of a part refer to others of it."""
  away = [index for index in part if rng.random() < _ELSEWHERE]
  here = [index for index in part if index not in away]
  for index in away if here else ():
    there = int(rng.choice(here))
    items[index] = Item(
      items[index].key, items[there].numbers, there - part.start + 1
    )

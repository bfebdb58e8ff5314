"""From what stands on a page to its pixels.

Positions are for lines 16 pixels high and pages 128 wide, and grow with them.
"""

from collections.abc import Callable
import dataclasses
import math

import numpy as np
import PIL.Image
import PIL.ImageDraw

from visor_jax.data.suites.pages import page as page_lib
from visor_jax.data.suites.pages import typefaces

Colour = tuple[int, int, int]

_LINE, _WIDTH = 16, 128  # that positions are for
_CHART = (72, 126)  # from the lowest to the highest number, along a line


def draw(
  rng: np.random.Generator, page: page_lib.Page, scale: page_lib.Scale
) -> np.ndarray:
  """Draws a page.

  Args:
    rng: draws where exactly things stand, stains and light.
    page: what stands on it.
    scale: its size.

  Returns:
    uint8 [lines, line, width, 3]; a tile for each line.
  """
  background = page_lib.BACKGROUNDS[page.background]
  ink = page_lib.INKS[page.ink]
  image = PIL.Image.new('RGB', (scale.width, scale.width), background)
  size = round(int(rng.integers(11, 13)) * scale.line / _LINE)
  sheet = Sheet(
    page=page,
    scale=scale,
    canvas=PIL.ImageDraw.Draw(image),
    size=size,
    ink=ink,
    faint=_between(background, ink, 0.3),
    jitter=rng.integers(-1, 1, size=(scale.lines, 2)),
  )
  if page.stained:
    _stain(rng, sheet, _between(background, ink, 0.12))
  _KINDS[page.kind](sheet)
  for line, item in enumerate(page.items):
    sheet.write(line, 14, item.key)
  pixels = np.asarray(image) * rng.uniform(0.9, 1.0)
  if not page.upright:
    pixels = np.rot90(pixels, k=int(rng.choice([1, 3])))
  tiles = pixels.reshape(scale.lines, scale.line, scale.width, 3)
  return tiles.astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Sheet:
  """A page while it is drawn.

  Attributes:
    page: what stands on it.
    scale: its size.
    canvas: to draw on.
    size: of text in pixels.
    ink: colour of text.
    faint: colour of rules and charts.
    jitter: int [lines, 2], by how much text is off, across and down.
  """

  page: page_lib.Page
  scale: page_lib.Scale
  canvas: PIL.ImageDraw.ImageDraw
  size: int
  ink: Colour
  faint: Colour
  jitter: np.ndarray

  def at(self, x: float, line: float) -> tuple[float, float]:
    """Pixels of a position across and a number of lines down."""
    return x * self.scale.width / _WIDTH, line * self.scale.line

  def write(self, line: int, x: float, text: str, right: bool = False) -> float:
    """Text on a line from, or up to, a position; returns where it ends."""
    x += self.jitter[line, 0]
    font = typefaces.font(self.page.typeface, self.size)
    left, base = self.at(x, line + 12 / _LINE)
    base += self.jitter[line, 1] * self.scale.line // _LINE
    anchor = 'rs' if right else 'ls'
    self.canvas.text((left, base), text, self.ink, font, anchor=anchor)
    return x + font.getlength(text) * _WIDTH / self.scale.width

  def write_numbers(self, *rights: float) -> None:
    """The numbers of all lines, a column up to each position."""
    for line, item in enumerate(self.page.items):
      for number, right in zip(item.numbers, rights, strict=True):
        text = f'{page_lib.SEE}{item.see}' if item.see else str(number)
        self.write(line, right, text, right=True)

  def rule(self, *points: tuple[float, float]) -> None:
    """A faint line through positions."""
    self.canvas.line(
      [self.at(*point) for point in points],
      self.faint,
      max(1, self.scale.line // _LINE),
    )

  def across(self, number: int) -> float:
    """Where a number stands in a chart."""
    low, high = _CHART
    return low + (high - low) * number / (self.page.highest + 1)


def _between(a: Colour, b: Colour, share: float) -> Colour:
  red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b))
  return red, green, blue


def _stain(rng: np.random.Generator, sheet: Sheet, colour: Colour) -> None:
  for _ in range(int(rng.integers(2, 6))):
    corner, side = rng.uniform(0, 0.9, 2), rng.uniform(0.03, 0.3, 2)
    box = np.concatenate([corner, corner + side]) * sheet.scale.width
    sheet.canvas.ellipse(box.tolist(), outline=colour, width=2)


def _receipt(sheet: Sheet) -> None:
  """Numbers at the right edge, a dashed rule above and below."""
  end = len(sheet.page.items)
  for x in range(2, 124, 8):
    sheet.rule((x, 0.03), (x + 4, 0.03))
    sheet.rule((x, end - 0.03), (x + 4, end - 0.03))
  sheet.write_numbers(122)


def _form(sheet: Sheet) -> None:
  """A box on each line, with the number in it."""
  for line in range(len(sheet.page.items)):
    (left, top), (right, bottom) = (
      sheet.at(54, line + 0.04),
      sheet.at(100, line + 0.94),
    )
    sheet.canvas.rectangle((left, top, right, bottom), outline=sheet.faint)
  sheet.write_numbers(80)


def _table(sheet: Sheet) -> None:
  """A grid of two columns."""
  end = len(sheet.page.items)
  for line in range(end + 1):
    sheet.rule((12, line), (124, line))
  for x in (12, 52, 88, 124):
    sheet.rule((x, 0), (x, end))
  sheet.write_numbers(84, 120)


def _bars(sheet: Sheet) -> None:
  """A bar on each line, from an axis."""
  for line, item in enumerate(sheet.page.items):
    left, top = sheet.at(_CHART[0], line + 0.2)
    right, bottom = sheet.at(sheet.across(item.numbers[0]), line + 0.8)
    sheet.canvas.rectangle((left, top, right, bottom), sheet.faint)
  sheet.rule((_CHART[0], 0), (_CHART[0], len(sheet.page.items)))
  if sheet.page.written:
    sheet.write_numbers(68)


def _curve(sheet: Sheet) -> None:
  """A point on each line, joined to the next."""
  points = [
    (sheet.across(item.numbers[0]), line + 0.5)
    for line, item in enumerate(sheet.page.items)
  ]
  sheet.rule((_CHART[0], 0), (_CHART[0], len(points)))
  sheet.rule(*points)
  radius = 3 * sheet.scale.line / _LINE
  for x, y in (sheet.at(*point) for point in points):
    box = (x - radius, y - radius, x + radius, y + radius)
    sheet.canvas.ellipse(box, sheet.ink)
  if sheet.page.written:
    sheet.write_numbers(68)


def _pie(sheet: Sheet) -> None:
  """A pie with a slice for each line, from the top on."""
  numbers = [item.numbers[0] for item in sheet.page.items]
  (left, top), (right, _) = sheet.at(76, 0.2), sheet.at(126, 0)
  start = -90.0
  for number in numbers:
    end = start + 360 * number / sum(numbers)
    sheet.canvas.pieslice(
      (left, top, right, top + right - left),
      start,
      math.ceil(end),
      fill=None,
      outline=sheet.faint,
      width=max(1, sheet.scale.line // _LINE),
    )
    start = end
  sheet.write_numbers(68)


def _menu(sheet: Sheet) -> None:
  """Dots that lead from the word to the number."""
  for line in range(len(sheet.page.items)):
    for x in range(56, 100, 4):
      at = sheet.at(x, line + 12 / _LINE)
      sheet.canvas.point(at, sheet.ink)
  sheet.write_numbers(118)


_KINDS: dict[str, Callable[[Sheet], None]] = {
  'receipt': _receipt,
  'form': _form,
  'table': _table,
  'bars': _bars,
  'curve': _curve,
  'pie': _pie,
  'menu': _menu,
}

"""The built-in suite: questions about pages of real handwriting.

A page is a grid of cells of 8 x 8 pixels, one visual token each. Five of its
rows hold a left and a right digit, out of the 1,797 handwritten ones that
scikit-learn ships; the rest is paper. Coarse families ask what is seen at a
glance: paper, ink, light, a mark. Fine families ask how left and right
digits relate, in all rows at once, and what single cells hold.

Every page is a pure function of (seed, stream, index).
"""

import dataclasses
import functools
import hashlib

import numpy as np

from visor_jax.data import chat
from visor_jax.data import packing

CELL = 8  # pixels
ROWS = 5  # of two digits
PAPERS = {'black': (0, 0, 0), 'grey': (75, 75, 75), 'brown': (80, 40, 0),
          'navy': (0, 35, 90)}
INKS = {'red': (255, 90, 90), 'green': (90, 255, 90), 'blue': (115, 115, 255)}
CELLS = 'abcdefghij'  # names of the digits' cells, row by row

COARSE = ('paper', 'ink', 'dim', 'mark')
RELATIONS = ('match', 'larger', 'first')  # between left and right digits
FINE = (*RELATIONS, 'read', 'count')


def group(family: str) -> str:
  """'coarse' or 'fine'."""
  return 'coarse' if family in COARSE else 'fine'


@functools.cache
def _handwriting():
  """Digits by split and class: {test: [uint8 [n, 8, 8]] * 10}.

  Every fifth image is a test digit, never seen in training.
  """
  from sklearn import datasets  # slow to import, needed here alone
  images, labels = datasets.load_digits(return_X_y=True)
  images = (images.reshape(-1, CELL, CELL) * (255 / 16)).astype(np.uint8)
  test = np.arange(len(labels)) % 5 == 0
  return {split: [images[(labels == c) & (test == split)] for c in range(10)]
          for split in (False, True)}


@dataclasses.dataclass(frozen=True)
class Page:
  """What questions are asked of.

  Attributes:
    digits: int [ROWS, 2].
    paper: its colour.
    ink: its colour.
    dim: the ink is dim.
    mark: one blank cell is white.
    image: uint8 [height, width, 3].
  """

  digits: np.ndarray
  paper: str
  ink: str
  dim: bool
  mark: bool
  image: np.ndarray

  def answer(self, question: str) -> str:
    """The right answer to 'family' or 'family argument'."""
    family, _, argument = question.partition(' ')
    left, right = self.digits.T
    yes_no = lambda yes: 'yes' if yes else 'no'
    return {
        'paper': lambda: self.paper,
        'ink': lambda: self.ink,
        'dim': lambda: yes_no(self.dim),
        'mark': lambda: yes_no(self.mark),
        'match': lambda: str((left == right).sum()),
        'larger': lambda: str((left > right).sum()),
        'first': lambda: str(next(
            (i for i, same in enumerate(left == right, 1) if same), 0)),
        'read': lambda: str(self.digits.flat[CELLS.index(argument)]),
        'count': lambda: str((self.digits == int(argument)).sum()),
    }[family]()


class Suite:
  """Pages and questions; what loaders and evaluation ask for.

  Args:
    seed: of the run.
    height: cells from top to bottom of a page.
    width: cells from left to right.
    turns: questions per page in training.
  """

  answer_tokens = 2  # a word and `end`

  def __init__(self, seed: int, height: int = 5, width: int = 8,
               turns: int = 8):
    if height < ROWS or width < 2:
      raise ValueError(f'data.digits: a page of {height} x {width} cells has '
                       f'no room for {ROWS} rows of two digits')
    self.seed, self.height, self.width = seed, height, width
    self.turns = turns
    self.words = chat.Words((
        *COARSE, *FINE, *CELLS, *map(str, range(10)), 'yes', 'no', *PAPERS,
        *INKS))
    self._single = (*COARSE, *RELATIONS)
    self._many = (*(f'read {c}' for c in CELLS),
                  *(f'count {d}' for d in range(10)))
    if not 1 <= turns <= len(self._single) + len(self._many):
      raise ValueError(f'data.digits.turns is {turns}; there are '
                       f'{len(self._single) + len(self._many)} questions')

  def shape(self, turns: int) -> packing.Shape:
    """Slots of a row of so many questions."""
    cells = self.height * self.width
    return packing.Shape(
        text=6 * turns, visual=cells, tiles=1, prompts=turns,
        tile=(self.height * CELL, self.width * CELL), patches=cells)

  def tiles(self, image):
    """The whole page is one tile."""
    return image[None]

  def conversation(self, stream: str, index: int) -> chat.Record:
    """A page and different questions about it, relations among them."""
    rng, page = self._page(stream, index)
    half = min(self.turns // 2, len(self._single))
    questions = [*rng.choice(self._single, half, replace=False),
                 *rng.choice(self._many, self.turns - half, replace=False)]
    rng.shuffle(questions)
    return self._record(stream, index, page, questions)

  def question(self, stream: str, index: int) -> chat.Record:
    """A page with one question: even numbers coarse, odd ones fine."""
    rng, page = self._page(stream, index)
    families = FINE if index % 2 else COARSE
    family = families[index // 2 % len(families)]
    argument = {'read': CELLS, 'count': '0123456789'}.get(family)
    return self._record(
        stream, index, page,
        [f'{family} {rng.choice(list(argument))}' if argument else family])

  def _record(self, stream, index, page, questions):
    turns = tuple(chat.Turn(q, page.answer(q), q.split()[0])
                  for q in map(str, questions))
    return chat.Record(f'{stream}/{index}', page.image, turns)

  def _page(self, stream, index):
    """A page and the generator that goes on to draw its questions."""
    key = hashlib.sha256(f'{self.seed}/{stream}/{index}'.encode()).digest()
    rng = np.random.default_rng(list(np.frombuffer(key[:16], np.uint32)))
    left = rng.integers(10, size=ROWS)
    other = (left + rng.integers(1, 10, size=ROWS)) % 10
    # Every number of equal rows is equally likely.
    equal = rng.permutation(ROWS) < rng.integers(ROWS + 1)
    digits = np.stack([left, np.where(equal, left, other)], axis=1)
    paper, ink = rng.choice(list(PAPERS)), rng.choice(list(INKS))
    dim, mark = rng.random(2) < 0.5
    image = self._draw(rng, digits, PAPERS[paper], INKS[ink], dim, mark,
                       stream == 'test')
    return rng, Page(digits, str(paper), str(ink), dim, mark, image)

  def _draw(self, rng, digits, paper, ink, dim, mark, test):
    """uint8 [height * CELL, width * CELL, 3]."""
    h, w = self.height, self.width
    light = np.zeros((h, w, CELL, CELL))
    pool = _handwriting()[test]
    rows = np.arange(ROWS) * h // ROWS
    for i, pair in enumerate(digits):
      for side, digit in enumerate(pair):
        one = pool[digit][rng.integers(len(pool[digit]))]
        light[rows[i], (w // 6, w - 1 - w // 6)[side]] = one / 255
    light *= 0.5 if dim else 1.0
    page = np.maximum(light[..., None] * np.array(ink), np.array(paper))
    if mark:
      blank = np.argwhere(light.max(axis=(2, 3)) == 0)
      page[tuple(blank[rng.integers(len(blank))])] = 255
    page = page.transpose(0, 2, 1, 3, 4).astype(np.uint8)
    return page.reshape(h * CELL, w * CELL, 3)

"""The built-in suite: questions about pages of real handwriting.

A page is a grid of blocks named a, b, c, ...; a block is two rows of cells and
every cell holds one of the 1,797 handwritten digits that scikit-learn ships,
8 x 8 pixels, one visual token. A question is about one block.

Coarse families are seen at a glance. Fine families ask how the upper row
relates to the lower one, column by column: the partner of a cell is a whole
page width away, so that no look at single cells, however wide, can tell.

Every page is a pure function of (seed, stream, index).
"""

import dataclasses
import functools
import hashlib
import string

import numpy as np

from visor_jax.data import chat
from visor_jax.data import packing

CELL = 8  # pixels
SHADES = ('black', 'grey', 'brown', 'navy')
_SHADES = np.array([[0, 0, 0], [75, 75, 75], [75, 35, 0], [0, 35, 90]])
_TINTS = np.array([[255, 90, 90], [90, 255, 90], [115, 115, 255]])

COARSE = ('shade', 'dark', 'mark')
FINE = ('match', 'larger', 'where')


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
    digits: int [blocks, 2, columns].
    dark: bool [blocks]; dimly written.
    mark: bool [blocks]; a white mark stands beside one of its digits.
    shade: of the paper, a number in SHADES.
    image: uint8 [height, width, 3].
  """

  digits: np.ndarray
  dark: np.ndarray
  mark: np.ndarray
  shade: int
  image: np.ndarray

  def answer(self, family: str, block: int) -> str:
    """The right answer to a question."""
    top, bottom = self.digits[block]
    equal = top == bottom
    yes_no = lambda yes: 'yes' if yes else 'no'
    return {
        'shade': lambda: SHADES[self.shade],
        'dark': lambda: yes_no(self.dark[block]),
        'mark': lambda: yes_no(self.mark[block]),
        'match': lambda: str(equal.sum()),
        'larger': lambda: str((top > bottom).sum()),
        'where': lambda: str(equal.argmax() + 1 if equal.any() else 0),
    }[family]()


class Suite:
  """Pages and questions; what loaders and evaluation ask for.

  Args:
    seed: of the run.
    blocks: rows and columns of blocks on a page.
    columns: of cells in a block.
    turns: questions per page in training.
  """

  answer_tokens = 2  # a word and `end`

  def __init__(self, seed: int, blocks=(2, 2), columns: int = 5,
               turns: int = 4):
    self.seed, self.blocks, self.columns = seed, tuple(blocks), columns
    self.turns, self.count = turns, blocks[0] * blocks[1]
    if not 1 <= turns <= self.count <= len(string.ascii_lowercase):
      raise ValueError(
          f'data.digits: {turns} turns on {blocks} blocks; a page has 1 to 26 '
          'blocks, and at most one question each')
    self.names = string.ascii_lowercase[:self.count]
    self.words = chat.Words((
        *COARSE, *FINE, *self.names, *map(str, range(10)), 'yes', 'no',
        *SHADES))

  def shape(self, turns: int) -> packing.Shape:
    """Slots of a row of so many questions."""
    height, width = 2 * self.blocks[0], self.columns * self.blocks[1]
    return packing.Shape(
        text=6 * turns, visual=height * width, tiles=1, prompts=turns,
        tile=(height * CELL, width * CELL), patches=height * width)

  def tiles(self, image):
    """The whole page is one tile."""
    return image[None]

  def conversation(self, stream: str, index: int) -> chat.Record:
    """A page with a question each about some of its blocks."""
    rng, page = self._page(stream, index)
    families = rng.choice(COARSE + FINE, self.turns)
    blocks = rng.permutation(self.count)[:self.turns]
    return self._record(stream, index, page, families, blocks)

  def question(self, stream: str, index: int) -> chat.Record:
    """A page with one question: even numbers coarse, odd ones fine."""
    rng, page = self._page(stream, index)
    families = FINE if index % 2 else COARSE
    family = families[index // 2 % len(families)]
    return self._record(stream, index, page, [family],
                        [rng.integers(self.count)])

  def _record(self, stream, index, page, families, blocks):
    turns = tuple(
        chat.Turn(f'{family} {self.names[block]}', page.answer(family, block),
                  str(family))
        for family, block in zip(families, blocks))
    return chat.Record(f'{stream}/{index}', page.image, turns)

  def _page(self, stream, index):
    """A page and the generator that goes on to draw its questions."""
    key = hashlib.sha256(f'{self.seed}/{stream}/{index}'.encode()).digest()
    rng = np.random.default_rng(list(np.frombuffer(key[:16], np.uint32)))
    digits = self._pairs(rng)
    dark, mark = rng.random((2, self.count)) < 0.5
    shade = int(rng.integers(len(SHADES)))
    image = self._draw(rng, digits, dark, mark, shade, stream == 'test')
    return rng, Page(digits, dark, mark, shade, image)

  def _pairs(self, rng):
    """Digits in which every number of equal columns is equally likely."""
    n = self.columns
    top = rng.integers(10, size=(self.count, n))
    other = (top + rng.integers(1, 10, size=top.shape)) % 10
    equal = rng.integers(n + 1, size=(self.count, 1))
    first = rng.permuted(np.tile(np.arange(n), (self.count, 1)), axis=1)
    return np.stack([top, np.where(first < equal, top, other)], axis=1)

  def _draw(self, rng, digits, dark, mark, shade, test):
    """uint8 [height, width, 3]."""
    pool = _handwriting()[test]
    u = rng.random(digits.shape)
    ink = np.stack([pool[d][int(x * len(pool[d]))]
                    for d, x in zip(digits.flat, u.flat)])
    tint = _TINTS[rng.integers(len(_TINTS), size=digits.size)]
    light = np.where(dark, 0.45, 1.0)[:, None, None] * rng.uniform(
        0.9, 1.0, digits.shape)
    pixels = ink[..., None] / 255 * (
        tint * light.reshape(-1, 1))[:, None, None]
    pixels = np.maximum(pixels, _SHADES[shade])
    each = digits[0].size
    spots = np.arange(self.count) * each + rng.integers(each, size=self.count)
    for corner in ((0, 0), (CELL - 1, 0)):
      pixels[spots[mark], corner[0], corner[1]] = 255
    down, across = self.blocks
    page = pixels.reshape(down, across, 2, self.columns, CELL, CELL, 3)
    page = page.transpose(0, 2, 4, 1, 3, 5, 6).astype(np.uint8)
    return page.reshape(down * 2 * CELL, across * self.columns * CELL, 3)

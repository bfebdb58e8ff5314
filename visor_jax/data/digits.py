"""The built-in suite: questions about clips of real handwriting.

A scene is five columns of two digits, out of the 1,797 handwritten ones that
scikit-learn ships, 8 x 8 pixels and one visual token each. It is filmed: a
clip of some frames in flickering light. Coarse families ask what is seen at a
glance: paper, ink, light, a mark. Fine families ask how the upper digits
relate to the lower ones, in all columns at once, and what single cells hold.

Every scene is a pure function of (seed, stream, index).
"""

import dataclasses
import functools
import hashlib

import numpy as np

from visor_jax.data import chat
from visor_jax.data import packing

CELL = 8  # pixels
COLUMNS = 5  # of two digits
PAPERS = {'black': (0, 0, 0), 'grey': (75, 75, 75), 'brown': (80, 40, 0),
          'navy': (0, 35, 90)}
INKS = {'red': (255, 90, 90), 'green': (90, 255, 90), 'blue': (115, 115, 255)}
CELLS = 'abcdefghij'  # names of the digits, row by row

COARSE = ('paper', 'ink', 'dim', 'mark')
RELATIONS = ('below', 'match', 'larger')  # of upper and lower digits
TURNS = 6  # questions per scene in training
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
class Scene:
  """What questions are asked of.

  Attributes:
    digits: int [2, COLUMNS].
    paper: its colour.
    ink: its colour.
    dim: the ink is dim.
    mark: a digit has a white frame.
    frames: uint8 [frames, 2 * CELL, COLUMNS * CELL, 3].
  """

  digits: np.ndarray
  paper: str
  ink: str
  dim: bool
  mark: bool
  frames: np.ndarray

  def answer(self, question: str) -> str:
    """The right answer to 'family' or 'family argument'."""
    family, _, argument = question.partition(' ')
    upper, lower = self.digits
    yes_no = lambda yes: 'yes' if yes else 'no'
    return {
        'paper': lambda: self.paper,
        'ink': lambda: self.ink,
        'dim': lambda: yes_no(self.dim),
        'mark': lambda: yes_no(self.mark),
        'match': lambda: str((upper == lower).sum()),
        'larger': lambda: str((upper > lower).sum()),
        'below': lambda: str(lower[upper == int(argument)][0]),
        'read': lambda: str(self.digits.flat[CELLS.index(argument)]),
        'count': lambda: str((self.digits == int(argument)).sum()),
    }[family]()


class Suite:
  """Scenes and questions; what loaders and evaluation ask for.

  Args:
    seed: of the run.
    frames: of a clip, ten visual tokens each.
    primer: scenes of the base stage, its first, that are only read out.
  """

  answer_tokens = 2  # a word and `end`
  turns = TURNS

  def __init__(self, seed: int, frames: int = 1, primer: int = 0):
    self.seed, self.frames, self.primer = seed, frames, primer
    self.words = chat.Words((
        *COARSE, *FINE, *CELLS, *map(str, range(10)), 'yes', 'no', *PAPERS,
        *INKS))
    self._reads = tuple(f'read {c}' for c in CELLS)
    self._single = self._reads + tuple(f'count {d}' for d in range(10))

  def shape(self, turns: int) -> packing.Shape:
    """Slots of a row of so many questions."""
    cells = 2 * COLUMNS
    return packing.Shape(
        text=5 * turns, visual=self.frames * cells, tiles=self.frames,
        prompts=turns, tile=(2 * CELL, COLUMNS * CELL), patches=cells)

  def tiles(self, images):
    """A frame is a tile."""
    return images

  def conversation(self, stream: str, index: int) -> chat.Record:
    """A scene and different questions about it.

    The first scenes of the base stage are only read out, digit by digit: a
    model that cannot read learns no relation, and learns to read many times
    faster when asked for nothing else. Later all relations are asked for, and
    a little of the rest.
    """
    rng, scene = self._scene(stream, index)
    if stream == 'base' and index < self.primer:
      questions = rng.permutation(self._reads)[:TURNS]
    else:
      below = rng.choice(scene.digits[0], 2, replace=False)
      questions = rng.permutation([
          *(f'below {d}' for d in below), 'match', 'larger',
          rng.choice(COARSE), rng.choice(self._single)])
    return self._record(stream, index, scene, questions)

  def question(self, stream: str, index: int) -> chat.Record:
    """A scene with one question: even numbers coarse, odd ones fine."""
    rng, scene = self._scene(stream, index)
    families = FINE if index % 2 else COARSE
    family = families[index // 2 % len(families)]
    arguments = {'read': list(CELLS), 'count': range(10),
                 'below': scene.digits[0]}.get(family)
    asked = family if arguments is None else f'{family} {rng.choice(arguments)}'
    return self._record(stream, index, scene, [asked])

  def _record(self, stream, index, scene, questions):
    turns = tuple(chat.Turn(q, scene.answer(q), q.split()[0])
                  for q in map(str, questions))
    return chat.Record(f'{stream}/{index}', scene.frames, turns)

  def _scene(self, stream, index):
    """A scene and the generator that goes on to draw its questions."""
    key = hashlib.sha256(f'{self.seed}/{stream}/{index}'.encode()).digest()
    rng = np.random.default_rng(list(np.frombuffer(key[:16], np.uint32)))
    upper = rng.permutation(10)[:COLUMNS]
    other = (upper + rng.integers(1, 10, size=COLUMNS)) % 10
    # Every number of equal columns is equally likely.
    equal = rng.permutation(COLUMNS) < rng.integers(COLUMNS + 1)
    digits = np.stack([upper, np.where(equal, upper, other)])
    paper, ink = rng.choice(list(PAPERS)), rng.choice(list(INKS))
    dim, mark = rng.random(2) < 0.5
    frames = self._film(rng, digits, PAPERS[paper], INKS[ink], dim, mark,
                        _handwriting()[stream == 'test'])
    return rng, Scene(digits, str(paper), str(ink), dim, mark, frames)

  def _film(self, rng, digits, paper, ink, dim, mark, pool):
    """uint8 [frames, 2 * CELL, COLUMNS * CELL, 3]."""
    cells = np.stack([pool[d][rng.integers(len(pool[d]))]
                      for d in digits.flat]) / 255
    cells = cells[..., None] * (0.5 if dim else 1.0) * np.array(ink)
    cells = np.maximum(cells, np.array(paper))  # [10, CELL, CELL, 3]
    if mark:
      marked = rng.integers(len(cells))
      cells[marked, ::CELL - 1] = cells[marked, :, ::CELL - 1] = 255
    scene = cells.reshape(2, COLUMNS, CELL, CELL, 3).transpose(0, 2, 1, 3, 4)
    scene = scene.reshape(2 * CELL, COLUMNS * CELL, 3)
    light = rng.uniform(0.85, 1.0, (self.frames, 1, 1, 1))
    return (scene * light).astype(np.uint8)

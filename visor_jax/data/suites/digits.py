"""The built-in suite: questions about clips of real handwriting.

A scene is five rows of two digits, out of the 1,797 handwritten ones that
scikit-learn ships, 8 x 8 pixels and one visual token each. It is filmed: a
clip of some frames in flickering light. Coarse families ask what is seen at a
glance: paper, ink, light, a mark. Fine families ask what single cells hold and
in which rows both digits are the same, of all rows at once.

Every scene is a pure function of (seed, stream, index).
"""

import dataclasses
import functools
import hashlib

import numpy as np

from visor_jax.data.processing import chat
from visor_jax.data.processing import packing

CELL = 8  # pixels
ROWS = 'vwxyz'  # names of the rows, of two digits each
CELLS = 'abcdefghij'  # names of the digits, row by row
PAPERS = {
  'black': (0, 0, 0),
  'grey': (45, 45, 45),
  'brown': (50, 25, 0),
  'navy': (0, 20, 60),
}
INKS = {'red': (255, 90, 90), 'green': (90, 255, 90), 'blue': (115, 115, 255)}

COARSE = ('paper', 'ink', 'dim', 'mark')
FINE = ('read', 'same', 'where', 'match')
TURNS = 8  # questions per scene in training


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
  return {
    split: [images[(labels == c) & (test == split)] for c in range(10)]
    for split in (False, True)
  }


@dataclasses.dataclass(frozen=True)
class Scene:
  """What questions are asked of.

  Attributes:
    digits: int [rows, 2].
    paper: its colour.
    ink: its colour.
    dim: the ink is dim.
    mark: a digit has a white frame.
    frames: uint8 [frames, rows * CELL, 2 * CELL, 3].
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
    same = self.digits[:, 0] == self.digits[:, 1]
    yes_no = lambda yes: 'yes' if yes else 'no'
    return {
      'paper': lambda: self.paper,
      'ink': lambda: self.ink,
      'dim': lambda: yes_no(self.dim),
      'mark': lambda: yes_no(self.mark),
      'read': lambda: str(self.digits.flat[CELLS.index(argument)]),
      'same': lambda: yes_no(same[ROWS.index(argument)]),
      'where': lambda: ROWS[same.argmax()] if same.any() else 'no',
      'match': lambda: str(same[: int(argument)].sum()),
    }[family]()


class Suite:
  """Scenes and questions; what loaders and evaluation ask for.

  Args:
    seed: of the run.
    frames: of a clip, ten visual tokens each.
    primers: {stream: scenes that come first}: how many are only read out, then
      how many also ask whether the digits of single rows are the same.
  """

  answer_tokens = 2  # a word and `end`
  packed = False  # one scene a row
  fingerprints, counts = {}, {}  # nothing can change, nothing is left out

  def __init__(self, seed: int, frames: int = 1, primers=None):
    self.seed, self.frames, self.primers = seed, frames, primers or {}
    self.words = chat.Words(
      (
        *COARSE,
        *FINE,
        *CELLS,
        *ROWS,
        *map(str, range(10)),
        'yes',
        'no',
        *PAPERS,
        *INKS,
      )
    )
    self.ends = (self.words.end,)

  def training(self, stream: str):
    """A `load` of whole conversations, see `loader`."""

    def load(index):
      record = self.conversation(stream, index)
      return self._row(record, chat.conversation(record, self.words)), None

    return load

  def prompt(self, stream: str, index: int):
    """A question alone.

    Returns:
      (fields of a Batch's row, its chat.Record).
    """
    record = self.question(stream, index)
    return self._row(record, chat.prompt(record, self.words)), record

  def decode(self, ids) -> str:
    """Words of an answer."""
    return self.words.decode(ids)

  def group(self, family: str) -> str:
    """'coarse' or 'fine'."""
    return group(family)

  def conversation(self, stream: str, index: int) -> chat.Record:
    """A scene and different questions about it.

    A stage may begin with primers: a model that cannot read learns no relation,
    and one that cannot compare two digits does not count equal rows. Each is
    learned many times faster when little else is asked.
    """
    rng, scene = self._scene(stream, index)
    reads = [f'read {c}' for c in rng.permutation(list(CELLS))]
    same = [f'same {r}' for r in rng.permutation(list(ROWS))]
    match = [f'match {n}' for n in rng.permutation(range(2, len(ROWS) + 1))]
    coarse = ['mark', rng.choice(COARSE[:-1])]  # a mark is learned last
    read, single = self.primers.get(stream, (0, 0))
    if index < read:
      questions = reads[:TURNS]
    elif index < read + single:
      questions = reads[:3] + same[:3] + coarse
    else:
      questions = reads[:2] + same[:1] + match[:2] + ['where'] + coarse
    return self._record(stream, index, scene, rng.permutation(questions))

  def question(self, stream: str, index: int) -> chat.Record:
    """A scene with one question: even numbers coarse, odd ones fine."""
    rng, scene = self._scene(stream, index)
    families = FINE if index % 2 else COARSE
    family = families[index // 2 % len(families)]
    arguments = {'read': CELLS, 'same': ROWS, 'match': '2345'}.get(family)
    asked = (
      family
      if arguments is None
      else (f'{family} {rng.choice(list(arguments))}')
    )
    return self._record(stream, index, scene, [asked])

  def _row(self, record, talk):
    """A frame is a tile, and a cell a patch of it."""
    turns = len(record.turns)
    shape = packing.Shape(
      text=5 * turns,
      visual=self.frames * len(CELLS),
      tiles=self.frames,
      prompts=turns,
      tile=record.images.shape[1:3],
      patches=len(CELLS),
    )
    return packing.row(
      [packing.segment(talk, record.images, len(CELLS))], shape
    )

  def _record(self, stream, index, scene, questions):
    turns = tuple(
      chat.Turn(q, scene.answer(q), q.split()[0]) for q in map(str, questions)
    )
    return chat.Record(f'{stream}/{index}', scene.frames, turns)

  def _scene(self, stream, index):
    """A scene and the generator that goes on to draw its questions."""
    key = hashlib.sha256(f'{self.seed}/{stream}/{index}'.encode()).digest()
    rng = np.random.default_rng(list(np.frombuffer(key[:16], np.uint32)))
    left = rng.permutation(10)[: len(ROWS)]
    other = (left + rng.integers(1, 10, size=len(ROWS))) % 10
    # Every number of equal rows is equally likely.
    equal = rng.permutation(len(ROWS)) < rng.integers(len(ROWS) + 1)
    digits = np.stack([left, np.where(equal, left, other)], axis=1)
    paper, ink = rng.choice(list(PAPERS)), rng.choice(list(INKS))
    dim, mark = rng.random(2) < 0.5
    frames = self._film(
      rng,
      digits,
      PAPERS[paper],
      INKS[ink],
      dim,
      mark,
      _handwriting()[stream == 'test'],
    )
    return rng, Scene(digits, str(paper), str(ink), dim, mark, frames)

  def _film(self, rng, digits, paper, ink, dim, mark, pool):
    """uint8 [frames, rows * CELL, 2 * CELL, 3]."""
    cells = (
      np.stack([pool[d][rng.integers(len(pool[d]))] for d in digits.flat]) / 255
    )
    cells = cells[..., None] * (0.5 if dim else 1.0) * np.array(ink)
    cells = np.maximum(cells, np.array(paper))  # [10, CELL, CELL, 3]
    if mark:
      marked = rng.integers(len(cells))
      cells[marked, :: CELL - 1] = cells[marked, :, :: CELL - 1] = 255
    scene = cells.reshape(len(ROWS), 2, CELL, CELL, 3).swapaxes(1, 2)
    scene = scene.reshape(len(ROWS) * CELL, 2 * CELL, 3)
    light = rng.uniform(0.85, 1.0, (self.frames, 1, 1, 1))
    return (scene * light).astype(np.uint8)

"""The built-in suite: questions about clips of real handwriting.

A scene is five rows of two digits, out of the 1,797 handwritten ones that
scikit-learn ships, 8 x 8 pixels and one visual token each. It is filmed: a
clip of a few frames in flickering light. Coarse families ask what is seen at a
glance: paper, ink, light, a mark. Fine families ask what single cells hold and
in which rows both digits are the same, of all rows at once.

Every scene is a pure function of (seed, stream, index).
"""

from collections.abc import Mapping
import dataclasses
import functools

import numpy as np

from visor_jax.data.suites import drawn
from visor_jax.data.suites import handwriting
from visor_jax.data.suites import processor as processor_lib
from visor_jax.data.suites import vocabulary
from visor_jax.spec import batch as batch_lib

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

_TURN_WORDS = 5  # the longest turn: user, family, argument, answer, end


def group(family: str) -> str:
  """'coarse' or 'fine'.

  Raises:
    ValueError: there is no such family.
  """
  if family in COARSE:
    return 'coarse'
  if family in FINE:
    return 'fine'
  raise ValueError(
    f'family "{family}": expected one of {", ".join(COARSE + FINE)}'
  )


def row_shape(frames: int, turns: int) -> batch_lib.RowShape:
  """Slots of a scene: a frame is a tile, and a cell a patch of it.

  Args:
    frames: frames of the clip.
    turns: questions about it.
  """
  return batch_lib.RowShape(
    text=_TURN_WORDS * turns,
    visual=frames * len(CELLS),
    tiles=frames,
    prompts=turns,
    tile=(len(ROWS) * handwriting.CELL, 2 * handwriting.CELL),
    patches=len(CELLS),
  )


@dataclasses.dataclass(frozen=True)
class Scene:
  """What questions are asked of.

  Attributes:
    digits: int [rows, 2].
    paper: its colour.
    ink: its colour.
    dim: the ink is dim.
    mark: a digit has a white frame.
    frames: uint8 [frames, height, width, 3], rows of two cells.
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
    return _ANSWERS[family](self, argument)

  @property
  def same(self) -> np.ndarray:
    """bool [rows]; both digits are the same."""
    return self.digits[:, 0] == self.digits[:, 1]


def _yes_no(yes: bool) -> str:
  return 'yes' if yes else 'no'


# {family: (scene, argument) -> the right answer}
_ANSWERS = {
  'paper': lambda scene, _: scene.paper,
  'ink': lambda scene, _: scene.ink,
  'dim': lambda scene, _: _yes_no(scene.dim),
  'mark': lambda scene, _: _yes_no(scene.mark),
  'read': lambda scene, cell: str(scene.digits.flat[CELLS.index(cell)]),
  'same': lambda scene, row: _yes_no(scene.same[ROWS.index(row)]),
  'where': lambda scene, _: (
    ROWS[scene.same.argmax()] if scene.same.any() else 'no'
  ),
  'match': lambda scene, rows: str(scene.same[: int(rows)].sum()),
}

# {family: its arguments}, of those that have one.
_ARGUMENTS = {'read': CELLS, 'same': ROWS, 'match': '2345'}


class Suite(drawn.Suite):
  """Scenes and questions about them; a protocols.Suite.

  Args:
    seed: decides every scene.
    frames: frames of a clip, ten visual tokens each.
    primers: {stream: scenes that come first and are only read out}.
  """

  turns = TURNS

  def __init__(
    self,
    seed: int,
    frames: int = 1,
    primers: Mapping[str, int] | None = None,
  ):
    self._seed, self._frames, self._primers = seed, frames, primers or {}
    words = vocabulary.Vocabulary(
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
    # An answer is a word and `end`.
    super().__init__(words, functools.partial(row_shape, frames), 2)

  @property
  def processor(self) -> processor_lib.Processor:
    """What its models make of words and images."""
    return processor_lib.of_suite(self)

  def group(self, family: str) -> str:
    """'coarse' or 'fine'."""
    return group(family)

  def conversation(self, stream: str, index: int) -> drawn.Example:
    """A scene and different questions about it.

    A stage may begin with primers: a model that cannot read learns no relation,
    and reading is learned many times faster when little else is asked.
    """
    rng, scene = self._scene(stream, index)
    read = [f'read {cell}' for cell in rng.permutation(list(CELLS))]
    same = [f'same {row}' for row in rng.permutation(list(ROWS))]
    match = [f'match {n}' for n in rng.permutation(range(2, len(ROWS) + 1))]
    coarse = ['mark', rng.choice(COARSE[:-1])]  # a mark is learned last
    if index < self._primers.get(stream, 0):
      questions = read[:TURNS]
    else:
      questions = read[:2] + same[:1] + match[:2] + ['where'] + coarse
    shuffled = rng.permutation(questions)
    return drawn.example(stream, index, scene.frames, shuffled, scene.answer)

  def question(self, stream: str, index: int) -> drawn.Example:
    """A scene with one question: even numbers coarse, odd ones fine."""
    rng, scene = self._scene(stream, index)
    families = FINE if index % 2 else COARSE
    family = families[index // 2 % len(families)]
    question = family
    if family in _ARGUMENTS:
      question = f'{family} {rng.choice(list(_ARGUMENTS[family]))}'
    return drawn.example(stream, index, scene.frames, [question], scene.answer)

  def _scene(
    self, stream: str, index: int
  ) -> tuple[np.random.Generator, Scene]:
    """A scene and the generator that goes on to draw its questions."""
    rng = drawn.generator(self._seed, stream, index)
    left = rng.permutation(10)[: len(ROWS)]
    other = (left + rng.integers(1, 10, size=len(ROWS))) % 10
    # Every number of equal rows is equally likely.
    equal = rng.permutation(len(ROWS)) < rng.integers(len(ROWS) + 1)
    digits = np.stack([left, np.where(equal, left, other)], axis=1)
    paper, ink = str(rng.choice(list(PAPERS))), str(rng.choice(list(INKS)))
    dim, mark = rng.random(2) < 0.5
    cells = handwriting.write(rng, digits, test=stream == 'test')
    cells = handwriting.colour(cells, PAPERS[paper], INKS[ink], dim)
    if mark:
      handwriting.mark(cells[rng.integers(len(cells))])
    image = handwriting.arrange(cells, len(ROWS))
    frames = handwriting.film(rng, image, self._frames)
    return rng, Scene(digits, paper, ink, dim, mark, frames)

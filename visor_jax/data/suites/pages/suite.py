"""The suite of pages: receipts, forms, tables and charts, drawn in code.

Coarse families ask what is seen at a glance: which kind of page, its paper and
ink, whether it lies on its side. Fine families ask what documents are asked:
read a line, the number behind a word, compare, the largest, how many are over,
add, estimate from a chart. A tile is a line of the page: what stands on other
lines is told by the decoder alone.

Every page is a pure function of (seed, stream, index).
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
from typing import NamedTuple

import numpy as np

from visor_jax.data.sources import records
from visor_jax.data.suites import drawn
from visor_jax.data.suites import processor as processor_lib
from visor_jax.data.suites import vocabulary
from visor_jax.data.suites.pages import drawing
from visor_jax.data.suites.pages import page as page_lib
from visor_jax.data.suites.pages import questions as questions_lib
from visor_jax.spec import batch as batch_lib

TURNS = 8  # the most questions of a page in training


class Primer(NamedTuple):
  """Conversations with which a stage may begin.

  Attributes:
    lines: that one is about; 0 for the whole page.
    families: that are asked.
    shown: one in so many of the visual tokens of a line is, drawn by chance;
      one at least.
    charts: pages may be charts, where no line refers to another.
  """

  lines: int
  families: tuple[str, ...]
  shown: int = 1
  charts: bool = True


# In order. Whole pages alone teach no reading: the text must find its line and
# read it, and gets nowhere with either alone. And where it sees all of a line,
# it puts word and number together itself; what it finds by a word is learned
# once the tower has put them together, in every token of the line. A number
# that stands elsewhere is on one of two lines before it is on one of many. What
# is made of two numbers comes last; of sums, for which numbers must be small,
# there would be too few.
_READ = ('line', 'estimate')
PRIMERS = (
  *(Primer(1, _READ, shown) for shown in (1, 2, 4, 8)),
  *(Primer(lines, _READ) for lines in (2, 4, 0)),
  *(Primer(lines, ('value',), charts=False) for lines in (2, 4, 0)),
  Primer(0, ('value', 'compare', *['sum'] * 3), charts=False),
  Primer(0, ('value', *_READ)),
)
GLANCES = ('paper', 'ink')  # which a line tells; asked once a row of primers


def row_shape(scale: page_lib.Scale, turns: int) -> batch_lib.RowShape:
  """Slots of a page: a line is a tile.

  Args:
    scale: size of the page.
    turns: questions about it.
  """
  pairs = min(turns, scale.lines // 2)  # a line is in one question
  of_two = len('user compare milk rice left'.split()) + _answer_tokens(scale)
  digits = len(str(scale.highest)) + len(str(scale.lines))
  of_page = len('user over right end'.split()) + digits
  return batch_lib.RowShape(
    text=pairs * of_two + (turns - pairs) * of_page,
    visual=scale.lines**2,
    tiles=scale.lines,
    prompts=turns,
    tile=(scale.line, scale.width),
    patches=scale.lines,
  )


def _answer_tokens(scale: page_lib.Scale) -> int:
  """Of two lines that refer to others, as `= 3 | 42 | = 5 | 17 | milk`, end."""
  place, number = len(str(scale.lines)), len(str(scale.highest))
  return 2 * (3 + place + number) + 2


def _few(
  rng: np.random.Generator, tokens: int, of: int, lines: int
) -> np.ndarray:
  """Numbers of one in `of` of the tokens of each line."""
  shown = max(1, tokens // of)
  of_line = [np.sort(rng.permutation(tokens)[:shown]) for _ in range(lines)]
  return np.concatenate([i * tokens + few for i, few in enumerate(of_line)])


class Suite(drawn.Suite):
  """Pages and questions about them; a protocols.Suite.

  Args:
    seed: decides every page.
    scale: a name of SCALES.
    unseen: what of the test's pages is never learned from: '', 'typeface' or
      'kind'.
    primers: {stream: how many pages of each of PRIMERS come first}.

  Raises:
    ValueError: there is no such scale, or nothing of that name is held out.
  """

  turns = TURNS

  def __init__(
    self,
    seed: int,
    scale: str = 'small',
    unseen: str = '',
    primers: Mapping[str, Sequence[int]] | None = None,
  ):
    if unseen not in page_lib.UNSEEN:
      raise ValueError(
        f'data.pages.unseen is "{unseen}"; expected one of {page_lib.UNSEEN}'
      )
    self._seed, self._unseen, self._primers = seed, unseen, primers or {}
    self._scale = page_lib.scale(scale)
    super().__init__(
      vocabulary.Vocabulary(questions_lib.WORDS),
      functools.partial(row_shape, self._scale),
      _answer_tokens(self._scale),
    )

  @property
  def processor(self) -> processor_lib.Processor:
    """What its models make of words and images."""
    return processor_lib.of_suite(self)

  def group(self, family: str) -> str:
    """'coarse' or 'fine'."""
    return questions_lib.group(family)

  def conversation(self, stream: str, index: int) -> drawn.Example:
    """A page and questions about it, each line in one of them.

    What was asked of a line twice could be copied from the first answer, or of
    two that one number is for. So questions about all lines come first, or not
    at all.
    """
    rng = drawn.generator(self._seed, stream, index)
    page = page_lib.compose(rng, self._scale, test=False)
    coarse = [str(family) for family in rng.permutation(questions_lib.COARSE)]
    if not page.upright:
      return self._example(rng, stream, index, page, coarse)
    first = self._about_all(rng, page) if rng.random() < 0.5 else []
    lines = list(rng.permutation(len(page.items)))
    asked = self._about_lines(rng, page, questions_lib.FINE, lines)
    asked = [*asked[: TURNS - 2 - len(first)], *coarse[:2]]
    asked = first + [str(question) for question in rng.permutation(asked)]
    return self._example(rng, stream, index, page, asked)

  def conversations(self, stream: str, index: int) -> list[drawn.Example]:
    """A page, or where a stage begins with primers all that it is cut into.

    The tiles of a part are its lines, counted from its first. Every number is
    in one question, as far as there are turns.
    """
    counts = self._primers.get(stream, ())
    primer = int(np.searchsorted(np.cumsum(counts), index, side='right'))
    if primer == len(counts):
      return [self.conversation(stream, index)]
    lines, families, of, charts = PRIMERS[primer]
    lines = lines or self._scale.lines
    rng = drawn.generator(self._seed, stream, index)
    page = page_lib.full(rng, self._scale, False, lines, charts)
    tiles = drawing.draw(rng, page, self._scale)
    *order, glance = rng.permutation(len(page.items))[:TURNS]
    parts = []
    for first in range(0, len(tiles), lines):
      cut = slice(first, first + lines)
      part = dataclasses.replace(page, items=page.items[cut])
      inside = [i - first for i in order if first <= i < first + lines]
      asked = self._about_lines(rng, part, families, inside)
      if first <= glance < first + lines:
        asked.append(str(rng.choice(GLANCES)))
      if asked:
        example = self._asked(stream, index, part, tiles[cut], asked)
        shown = _few(rng, self._scale.lines, of, len(example.images))
        parts.append(dataclasses.replace(example, shown=shown))
    return parts

  def question(self, stream: str, index: int) -> drawn.Example:
    """A page with one question: even numbers coarse, odd ones fine.

    Families are asked equally often, numbers that stand elsewhere too.
    """
    rng = drawn.generator(self._seed, stream, index)
    unseen = self._unseen if stream == 'test' else ''
    group: Sequence[str] = (
      (*questions_lib.FINE, *questions_lib.ELSEWHERE)
      if index % 2
      else questions_lib.COARSE
    )
    if unseen == 'kind':  # which nobody has a name for, and which is no chart
      group = [f for f in group if f not in ('kind', 'estimate')]
    family = group[index // 2 % len(group)]
    asked = family.split()[0]
    upright = rng.random() < 0.5  # either answer is as likely
    while True:
      page = page_lib.compose(rng, self._scale, stream == 'test', unseen)
      if family == 'upright' and page.upright != upright:
        continue
      if questions_lib.suits(page, asked):
        lines = list(map(int, rng.permutation(len(page.items))))
        question = questions_lib.ask(rng, page, asked, lines)
        if question and questions_lib.family(page, question) == family:
          return self._example(rng, stream, index, page, [question])

  def _about_lines(
    self,
    rng: np.random.Generator,
    page: page_lib.Page,
    families: Sequence[str],
    lines: Sequence[int],
  ) -> list[str]:
    """Questions that name some of the lines, each line and number once.

    Of lines that a number is for, one that refers to it, if there is any.
    """
    lines = sorted(map(int, lines), key=lambda i: bool(page.items[i].see))
    free = list({page.written_at(i): i for i in lines}.values())
    able = [
      family
      for family in families
      if family not in ('largest', 'over') and questions_lib.suits(page, family)
    ]
    asked = []
    while free:
      family = str(rng.choice(able))
      question = questions_lib.ask(rng, page, family, free)
      asked.append(question)
    return [question for question in asked if question]

  def _about_all(
    self, rng: np.random.Generator, page: page_lib.Page
  ) -> list[str]:
    """Questions that depend on all lines."""
    able = [f for f in ('largest', 'over') if questions_lib.suits(page, f)]
    asked = [questions_lib.ask(rng, page, family, []) for family in able]
    return [asked[i] or '' for i in rng.permutation(len(asked))]

  def _example(
    self,
    rng: np.random.Generator,
    stream: str,
    index: int,
    page: page_lib.Page,
    asked: list[str],
  ) -> drawn.Example:
    tiles = drawing.draw(rng, page, self._scale)
    return self._asked(stream, index, page, tiles, asked)

  def _asked(
    self,
    stream: str,
    index: int,
    page: page_lib.Page,
    tiles: np.ndarray,
    asked: list[str],
  ) -> drawn.Example:
    turns = tuple(
      records.Turn(
        question,
        questions_lib.answer(page, question),
        questions_lib.family(page, question),
      )
      for question in asked
    )
    return drawn.Example(drawn.name(stream, index), tiles, turns)

"""Pages as records, asked in English: for checkpoints with words of their own.

pages:SCALE/SPLIT[@COUNT]: SCALE is small or large. SPLIT is train,
conversations about pages; or test/coarse or test/fine, a question a page, where
words and numbers stand side by side that never do in training.
"""

from collections.abc import Callable
import re

from visor_jax.data.sources import records
from visor_jax.data.suites import drawn
from visor_jax.data.suites import processor
from visor_jax.data.suites.pages import page as page_lib
from visor_jax.data.suites.pages import questions

NAME = 'pages:'
COUNTS = {'train': 100_000, 'test/coarse': 2048, 'test/fine': 2048}
VERSION = 3  # of the pages that there are

# A family's question, with the arguments of the suite's.
_PHRASES = {
  'kind': 'What kind of page is this?',
  'chart': 'Is this a chart?',
  'paper': 'What colour is the paper?',
  'ink': 'What colour is the ink?',
  'upright': 'Is this page upright?',
  'line': 'What stands on line {}?',
  'value': 'What number stands behind {}?',
  'compare': 'Of which is there more, {} or {}?',
  'largest': 'Which line has the largest number?',
  'over': 'How many numbers are over {}?',
  'sum': 'What is the sum of {} and {}?',
  'estimate': 'About how large is {}?',
}
# Where an answer says what was read for it.
_READ_FIRST = (
  ' Of numbers that are written, say first what you read, as in "= 3 | 42".'
)


class Source:
  """A protocols.Source.

  Attributes:
    name: 'pages'.
    fingerprint: changes when the pages do.

  Args:
    path: 'pages:...', see above.
    open_suite: (seed, scale) -> the suite of pages.

  Raises:
    ValueError: it is none.
  """

  name = 'pages'

  def __init__(self, path: str, open_suite: Callable[[int, str], drawn.Suite]):
    match = re.fullmatch(r'pages:(\w+)/([\w/]+)(?:@([1-9]\d*))?', path)
    if not match or match[2] not in COUNTS:
      raise ValueError(
        f'{path}: expected pages:SCALE/SPLIT or pages:SCALE/SPLIT@COUNT, with '
        f'a split of {", ".join(COUNTS)}'
      )
    self._suite = open_suite(0, match[1])
    self._size = processor.of_suite(self._suite).size
    self._split, self._count = match[2], int(match[3] or COUNTS[match[2]])
    self.fingerprint = f'{path}, version {VERSION}'

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, index: int) -> records.Record:
    if self._split == 'train':
      example = self._suite.conversation('train', index)
    else:  # even numbers are coarse, odd ones fine
      number = 2 * index + (self._split == 'test/fine')
      example = self._suite.question('test', number)
    return records.Record(
      example.id,
      (processor.png(example.images),),
      (self._size,),
      tuple(
        records.Turn(phrase(turn.question), turn.answer, turn.family)
        for turn in example.turns
      ),
    )

  def outline(self, index: int) -> records.Record:
    """The record itself: what is asked depends on what is drawn."""
    return self[index]


def phrase(question: str) -> str:
  """A question of the suite in English."""
  family, *words = question.split()
  column = words.pop() if words and words[-1] in page_lib.COLUMNS else ''
  text = _PHRASES[family].format(*words)
  if column:
    text += f' Look at the {column} column.'
  return text + _READ_FIRST if family in questions.READ_FIRST else text

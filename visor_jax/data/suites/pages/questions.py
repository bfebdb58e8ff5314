"""What is asked of a page, and what is right.

A question is the name of its family and arguments; on a page of two columns it
ends with the column. Where numbers are written, an answer first says what was
read for it, as `value milk`, `= 3 | 42`: see line 3, there it is 42.
"""

from collections.abc import Callable
import dataclasses

import numpy as np

from visor_jax.data.suites.pages import page as page_lib

Page = page_lib.Page

COARSE = ('kind', 'chart', 'paper', 'ink', 'upright')
FINE = ('line', 'value', 'compare', 'largest', 'over', 'sum', 'estimate')
READ_FIRST = ('value', 'compare', 'sum')  # whose answers say what was read
# Asked as the first word is, of a line that refers to another: the question
# does not say so, the page does.
ELSEWHERE = tuple(f'{family} elsewhere' for family in READ_FIRST)
FAMILIES = COARSE + FINE + ELSEWHERE  # as questions are kept by
SEE, BAR = page_lib.SEE, '|'  # as references and columns are transcribed

# All words of questions and answers; numbers are spelled in digits.
WORDS = (
  *COARSE,
  *FINE,
  *page_lib.KEYS,
  *map(str, range(10)),
  *page_lib.KINDS,
  page_lib.HELD_OUT_KIND,
  *page_lib.BACKGROUNDS,
  *page_lib.INKS,
  *page_lib.COLUMNS,
  'yes',
  'no',
  SEE,
  BAR,
)


@dataclasses.dataclass(frozen=True)
class Family:
  """Questions of one kind.

  Attributes:
    suits: whether a page can be asked.
    items: how many lines a question names.
    answer: (page, the items it names, column, its numbers) -> the right answer.
  """

  suits: Callable[[Page], bool]
  items: int
  answer: Callable[[Page, list[page_lib.Item], int, list[int]], str]


def group(family: str) -> str:
  """'coarse' or 'fine'.

  Raises:
    ValueError: there is no such family.
  """
  if family in COARSE:
    return 'coarse'
  if family in (*FINE, *ELSEWHERE):
    return 'fine'
  raise ValueError(f'family "{family}": expected one of {", ".join(FAMILIES)}')


def family(page: Page, question: str) -> str:
  """Of which family a question of `ask` is."""
  name, *words = question.split()
  refers = any(item.see for item in _named(page, words))
  return f'{name} elsewhere' if refers else name


def suits(page: Page, family: str) -> bool:
  """Whether a page can be asked a question of a family."""
  return family in COARSE or page.upright and _FINE[family].suits(page)


def ask(
  rng: np.random.Generator, page: Page, family: str, free: list[int]
) -> str | None:
  """A question; None where the lines do not suffice.

  Args:
    rng: draws its arguments.
    page: that suits it.
    family: of the question.
    free: indices of lines that it may name; those that it names are taken out.
  """
  if family in COARSE:
    return family
  words = [family]
  for _ in range(_FINE[family].items):
    index = next((i for i in free if _differs(page, words[1:], i)), None)
    if index is None:
      return None
    free.remove(index)
    words.append(page.items[index].key)
  if family == 'line':
    words[1:] = [str(1 + _index(page, words[1]))]
  if family == 'over':
    tenth = (page.highest + 1) // 10
    words.append(str(tenth * int(rng.integers(2, 9))))
  if page.columns > 1 and family != 'line':
    words.append(str(rng.choice(page_lib.COLUMNS)))
  return ' '.join(words)


def answer(page: Page, question: str) -> str:
  """The right answer to a question of `ask`."""
  family, *words = question.split()
  if family in COARSE:
    return _COARSE[family](page)
  numbers = [int(word) for word in words if word.isdigit()]
  columns = [page_lib.COLUMNS.index(w) for w in words if w in page_lib.COLUMNS]
  return _FINE[family].answer(
    page, _named(page, words), columns[0] if columns else 0, numbers
  )


def _named(page: Page, words: list[str]) -> list[page_lib.Item]:
  """The lines that a question's words name, in its order."""
  return [page.items[_index(page, w)] for w in words if w in page_lib.KEYS]


def _index(page: Page, key: str) -> int:
  return [item.key for item in page.items].index(key)


def _differs(page: Page, keys: list[str], index: int) -> bool:
  """Whether a line's numbers are not those of the lines of these words."""
  return all(
    a != b
    for key in keys
    for a, b in zip(
      page.items[_index(page, key)].numbers,
      page.items[index].numbers,
      strict=True,
    )
  )


def _yes_no(yes: bool) -> str:
  return 'yes' if yes else 'no'


_COARSE: dict[str, Callable[[Page], str]] = {
  'kind': lambda page: page.kind,
  'chart': lambda page: _yes_no(page.kind in page_lib.CHARTS),
  'paper': lambda page: page.background,
  'ink': lambda page: page.ink,
  'upright': lambda page: _yes_no(page.upright),
}


def _is_written(page: Page) -> bool:
  return page.written


def _is_drawn(page: Page) -> bool:
  return not page.written


def _is_small(page: Page) -> bool:
  return page.highest < 10


def _is_any(page: Page) -> bool:
  return True


def _has_largest(page: Page) -> bool:
  """One line alone holds the largest number of each column."""
  columns = zip(*(item.numbers for item in page.items))
  return all(column.count(max(column)) == 1 for column in columns)


def _line(
  page: Page, items: list[page_lib.Item], column: int, numbers: list[int]
) -> str:
  item = page.items[numbers[0] - 1]
  if not page.written:
    return item.key
  return f'{item.key} ' + (
    f'{SEE} {item.see}' if item.see else f' {BAR} '.join(map(str, item.numbers))
  )


def _read(item: page_lib.Item, column: int) -> str:
  """The number of a line, behind where it stands if that is elsewhere."""
  number = str(item.numbers[column])
  return f'{SEE} {item.see} {BAR} {number}' if item.see else number


def _worked(items: list[page_lib.Item], column: int, result: str) -> str:
  """What is read of lines, and what follows from it."""
  return f' {BAR} '.join([*(_read(item, column) for item in items), result])


def _value(
  page: Page, items: list[page_lib.Item], column: int, numbers: list[int]
) -> str:
  return _read(items[0], column)


def _compare(
  page: Page, items: list[page_lib.Item], column: int, numbers: list[int]
) -> str:
  larger = _largest(page, items, column, numbers)
  return _worked(items, column, larger) if page.written else larger


def _largest(
  page: Page, items: list[page_lib.Item], column: int, numbers: list[int]
) -> str:
  return max(items or page.items, key=lambda item: item.numbers[column]).key


def _over(
  page: Page, items: list[page_lib.Item], column: int, numbers: list[int]
) -> str:
  return str(sum(item.numbers[column] > numbers[0] for item in page.items))


def _sum(
  page: Page, items: list[page_lib.Item], column: int, numbers: list[int]
) -> str:
  total = sum(item.numbers[column] for item in items)
  return _worked(items, column, str(total))


_FINE = {
  'line': Family(_is_any, 1, _line),
  'value': Family(_is_written, 1, _value),
  'compare': Family(_is_any, 2, _compare),
  'largest': Family(_has_largest, 0, _largest),
  'over': Family(_is_written, 0, _over),
  'sum': Family(_is_small, 2, _sum),
  'estimate': Family(_is_drawn, 1, _value),
}

"""Questions and answers of a page that is written down here."""

import dataclasses

import numpy as np
import pytest

from visor_jax.data.suites.pages import page as page_lib
from visor_jax.data.suites.pages import questions

RECEIPT = page_lib.Page(
  kind='receipt',
  items=(
    page_lib.Item('milk', (42,)),
    page_lib.Item('rice', (7,)),
    page_lib.Item('tofu', (7,), see=2),
    page_lib.Item('eggs', (81,)),
  ),
  highest=99,
  written=True,
  upright=True,
  stained=True,
  background='pink',
  ink='blue',
  typeface='sans',
)
TABLE = dataclasses.replace(
  RECEIPT,
  kind='table',
  items=(page_lib.Item('milk', (3, 8)), page_lib.Item('rice', (5, 4))),
  highest=9,
)
BARS = dataclasses.replace(RECEIPT, kind='bars', written=False)


@pytest.mark.parametrize(
  'page,question,answer',
  [
    (RECEIPT, 'kind', 'receipt'),
    (RECEIPT, 'chart', 'no'),
    (BARS, 'chart', 'yes'),
    (RECEIPT, 'paper', 'pink'),
    (RECEIPT, 'ink', 'blue'),
    (RECEIPT, 'upright', 'yes'),
    (RECEIPT, 'line 1', 'milk 42'),
    (RECEIPT, 'line 3', 'tofu = 2'),
    (TABLE, 'line 2', 'rice 5 | 4'),
    (BARS, 'line 4', 'eggs'),
    (RECEIPT, 'value rice', '7'),
    (RECEIPT, 'value tofu', '= 2 | 7'),
    (TABLE, 'value rice right', '4'),
    (RECEIPT, 'compare rice milk', '7 | 42 | milk'),
    (RECEIPT, 'compare eggs tofu', '81 | = 2 | 7 | eggs'),
    (BARS, 'compare rice milk', 'milk'),
    (TABLE, 'compare rice milk left', '5 | 3 | rice'),
    (RECEIPT, 'largest', 'eggs'),
    (TABLE, 'largest right', 'milk'),
    (RECEIPT, 'over 40', '2'),
    (RECEIPT, 'over 42', '1'),
    (TABLE, 'over 4 right', '1'),
    (TABLE, 'sum milk rice left', '3 | 5 | 8'),
    (BARS, 'estimate eggs', '81'),
  ],
)
def test_an_answer_is_right(page, question, answer):
  assert questions.answer(page, question) == answer


@pytest.mark.parametrize(
  'page,families',
  [
    (RECEIPT, {'line', 'value', 'compare', 'largest', 'over'}),
    (TABLE, {'line', 'value', 'compare', 'largest', 'over', 'sum'}),
    (BARS, {'line', 'compare', 'largest', 'estimate'}),
    (dataclasses.replace(TABLE, upright=False), set()),
  ],
)
def test_a_page_is_asked_what_it_can_answer(page, families):
  """Nobody reads a page that lies on its side; what it is, all can see."""
  fine = {f for f in questions.FINE if questions.suits(page, f)}
  assert fine == families
  assert all(questions.suits(page, family) for family in questions.COARSE)


def test_the_same_words_are_of_a_family_of_their_own_where_a_line_refers():
  """So that a table says what they cost there."""
  assert questions.family(RECEIPT, 'value milk') == 'value'
  assert questions.family(RECEIPT, 'value tofu') == 'value elsewhere'
  assert questions.family(RECEIPT, 'compare milk tofu') == 'compare elsewhere'
  assert questions.family(RECEIPT, 'compare milk eggs') == 'compare'
  assert questions.family(RECEIPT, 'line 3') == 'line'
  assert questions.group('sum elsewhere') == 'fine'


def test_two_lines_with_the_same_number_are_not_compared():
  rng = np.random.default_rng(0)
  free = [1, 2]
  assert questions.ask(rng, RECEIPT, 'compare', free) is None
  assert questions.ask(rng, RECEIPT, 'compare', [1, 2, 0]) == (
    'compare rice milk'
  )


def test_a_line_that_a_question_names_is_no_longer_free():
  free = [3, 0, 1]
  assert questions.ask(np.random.default_rng(0), RECEIPT, 'line', free) == (
    'line 4'
  )
  assert free == [0, 1]


def test_two_largest_lines_are_none():
  tie = dataclasses.replace(RECEIPT, items=RECEIPT.items[1:3])
  assert not questions.suits(tie, 'largest')


def test_a_family_that_is_not_asked_has_no_group():
  assert questions.group('ink') == 'coarse' and questions.group('sum') == 'fine'
  with pytest.raises(ValueError, match='"colour": expected one of kind, chart'):
    questions.group('colour')

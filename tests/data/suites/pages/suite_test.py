"""Pages with questions: pure, fair, and asked so that nothing can be copied."""

import collections

import numpy as np
import pytest

from visor_jax.data.suites.pages import page as page_lib
from visor_jax.data.suites.pages import questions as questions_lib
from visor_jax.data.suites.pages import suite as suite_lib

SEED = 3
SUITE = suite_lib.Suite(SEED)
FINE = (*questions_lib.FINE, *questions_lib.ELSEWHERE)


def same(a, b):
  return (
    a.id == b.id and a.turns == b.turns and np.array_equal(a.images, b.images)
  )


def primers(which):
  """100 pages of one of PRIMERS."""
  return [100 * (i == which) for i in range(len(suite_lib.PRIMERS))]


def families(example):
  return [turn.family for turn in example.turns]


def test_a_page_is_a_function_of_seed_stream_and_index():
  """Resume and every host ask again, in another order."""
  other = suite_lib.Suite(SEED)
  ahead = {i: other.conversation('base', i) for i in (7, 3, 0, 3)}
  for i in (0, 3, 7):
    assert same(SUITE.conversation('base', i), ahead[i])
    assert same(SUITE.question('test', i), other.question('test', i))
  one = SUITE.conversation('base', 4)
  for another in (
    SUITE.conversation('base', 6),
    SUITE.conversation('full', 4),
    suite_lib.Suite(SEED + 1).conversation('base', 4),
  ):
    assert not np.array_equal(one.images, another.images)


def lines_of(turn):
  """Words or numbers of the lines that a question is about."""
  words = turn.question.split()[1:]
  if turn.family == 'line':
    return turn.answer.split()[:1]
  return [word for word in words if word in page_lib.KEYS]


@pytest.mark.parametrize('primer', [*range(len(suite_lib.PRIMERS)), None])
def test_a_line_is_asked_about_once(primer):
  """The second answer could be copied from the first."""
  suite = suite_lib.Suite(SEED, primers=dict(base=primers(primer)))
  for i in range(40):
    parts = suite.conversations('base', i)
    turns = [turn for part in parts for turn in part.turns]
    assert 1 <= len(turns) <= suite.turns
    for part in parts:  # lines are counted from its first
      assert len({turn.question for turn in part.turns}) == len(part.turns)
    about = [line for turn in turns for line in lines_of(turn)]
    assert len(set(about)) == len(about)


def test_a_number_that_lines_refer_to_is_asked_once():
  """Of two lines that it is for, the second answer could be copied.

  One that refers to it is asked about, which is harder.
  """
  rng = np.random.default_rng(0)
  asked = collections.Counter()
  for _ in range(200):
    page = page_lib.compose(rng, page_lib.SCALES['small'], test=False)
    if not (page.upright and page.written):
      continue
    lines = rng.permutation(len(page.items))
    named = [
      [item.key for item in page.items].index(question.split()[1])
      for question in SUITE._about_lines(rng, page, ('value',), lines)
    ]
    about = [page.written_at(i) for i in named]
    marked = {page.written_at(i) for i in lines if page.items[i].see}
    assert sum(page.items[i].see > 0 for i in named) == len(marked)
    asked[len(about) == len(page.items)] += 1
    assert (
      len(set(about)) == len(about) == len(set(map(page.written_at, lines)))
    )
  assert asked[True] and asked[False]


def test_questions_about_all_lines_come_before_any_line_is_told():
  """Behind them the largest number could be told from the text."""
  met = collections.Counter()
  for i in range(150):
    asked = families(SUITE.conversation('base', i))
    met.update(asked)
    number = sum(family in ('largest', 'over') for family in asked)
    assert set(asked[:number]) <= {'largest', 'over'}
  assert set(met) == {*questions_lib.COARSE, *FINE}


def test_primers_come_first_in_their_stage():
  """Parts of pages are transcribed, then asked; then all."""
  count = len(suite_lib.PRIMERS)
  suite = suite_lib.Suite(SEED, primers=dict(base=[10] * count))

  def asked(start, stop):
    examples = [
      e for i in range(start, stop) for e in suite.conversations('base', i)
    ]
    return {family for example in examples for family in families(example)}

  glances, values = {'paper', 'ink'}, {'value', 'value elsewhere'}
  numbers = {*questions_lib.READ_FIRST, *questions_lib.ELSEWHERE}
  assert asked(0, 70) == {'line', 'estimate'} | glances
  assert asked(70, 100) == values | glances
  assert {'compare', 'sum'} < asked(100, 110) <= numbers | glances
  assert asked(110, 120) == {'line', 'estimate'} | values | glances
  assert asked(120, 160) > {'compare', 'over', 'sum'} | glances
  rows = [suite.training('base')(10 * i)[0] for i in range(count)]
  of_row = [row['text_segment'].max() for row in rows]
  assert of_row == [8] * 4 + [4, 2, 1] * 2 + [1] * 2
  # Of a line's eight tokens; its tiles are all there for the tower.
  shown = [(row['visual_segment'] > 0).sum() // 8 for row in rows]
  assert shown == [8, 4, 2, 1] + [8] * 8
  assert all((row['tiles'] > 0).any(axis=(1, 2, 3)).all() for row in rows)


@pytest.mark.parametrize('scale', page_lib.SCALES)
@pytest.mark.parametrize('primer', range(len(suite_lib.PRIMERS)))
def test_a_part_of_a_page_is_asked_about_its_own_lines_alone(scale, primer):
  suite = suite_lib.Suite(SEED, scale, primers=dict(base=primers(primer)))
  lines = suite_lib.PRIMERS[primer].lines
  for i in range(5):
    parts = suite.conversations('base', i)
    suite.training('base')(i)  # it has the slots
    for part in parts:
      assert len(part.images) <= (lines or page_lib.SCALES[scale].lines)
      for turn in part.turns:
        if turn.family == 'line':
          assert 1 <= int(turn.question.split()[1]) <= len(part.images)


@pytest.fixture(scope='module')
def asked():
  """480 test questions by family."""
  turns = collections.defaultdict(list)
  for i in range(480):
    (turn,) = SUITE.question('test', i).turns
    assert SUITE.group(turn.family) == ('fine' if i % 2 else 'coarse')
    turns[turn.family].append(turn)
  return turns


def test_half_is_coarse_and_families_are_balanced(asked):
  for group in (questions_lib.COARSE, FINE):
    counts = [len(asked[family]) for family in group]
    assert sum(counts) == 240 and max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
  'family,chance',
  [('chart', 1 / 2), ('upright', 1 / 2), ('paper', 1 / 4), ('ink', 1 / 3)],
)
def test_a_guess_is_no_better_than_chance(asked, family, chance):
  """A biased answer would be learned instead of the image."""
  counts = collections.Counter(turn.answer for turn in asked[family])
  assert len(counts) == round(1 / chance)
  assert max(counts.values()) / counts.total() < chance + 0.2


@pytest.mark.parametrize('scale', page_lib.SCALES)
def test_words_and_slots_suffice_for_every_question(scale):
  suite = suite_lib.Suite(SEED, scale, primers=dict(cross=primers(6)))
  for stream in ('base', 'cross'):
    load = suite.training(stream)
    for i in range(25):
      row, _ = load(i)
      assert (row['visual_segment'] == 1).all()
  for i in range(28):
    row, example = suite.prompt('test', i)
    (turn,) = example.turns
    answer = suite.words.encode(turn.answer)
    assert len(answer) < suite.answer_tokens  # and `end`
    assert suite.decode(answer) == turn.answer
    assert (row['text_segment'] > 0).sum() + len(answer) < len(row['tokens'])


@pytest.mark.parametrize('unseen', ['typeface', 'kind'])
def test_what_is_held_out_changes_the_test_alone(unseen):
  suite = suite_lib.Suite(SEED, unseen=unseen)
  assert same(suite.conversation('full', 1), SUITE.conversation('full', 1))
  assert same(suite.question('label', 1), SUITE.question('label', 1))
  assert not same(suite.question('test', 1), SUITE.question('test', 1))


def test_something_else_is_not_held_out():
  with pytest.raises(ValueError, match='data.pages.unseen is "ink"'):
    suite_lib.Suite(SEED, unseen='ink')

"""Scores by hand."""

import pytest

from visor_jax.benchmarks import scores


@pytest.mark.parametrize(
  'answer,gold,exact,token',
  [
    ('yes', 'yes', 1, 1),
    ('yes', 'no', 0, 0),
    ('', '', 1, 1),
    ('', 'yes', 0, 0),
    ('yes', '', 0, 0),
    ('  ', '', 1, 1),
    (' yes\n', 'yes', 1, 1),
    ('a  b', 'a b', 1, 1),
    ('a b', 'a c', 0, 0.5),
    ('b a', 'a b', 0, 0),
    ('a', 'a b', 0, 0.5),
    ('a b c d', 'a', 0, 0.25),  # saying more does not help
    ('Yes', 'yes', 0, 0),
    ('ein Café', 'ein Café', 1, 1),
    ('猫 犬', '猫 鳥', 0, 0.5),
    ('10', '1', 0, 0),
  ],
)
def test_exact_and_token(answer, gold, exact, token):
  assert scores.exact(answer, gold) == exact
  assert scores.token(answer, gold) == pytest.approx(token)


@pytest.mark.parametrize(
  'answer,gold,want',
  [
    ('', '', 1),
    ('', 'a', 0),
    ('a', '', 0),
    ('abc', 'abc', 1),
    ('ABC', 'abc', 1),
    ('kitten', 'sitting', 1 - 3 / 7),
    ('ab', 'ac', 0.5),
    ('abc', 'axy', 0),  # below one half is nothing
    ('abcd', 'abdc', 0.5),
    ('abcd', 'abc', 0.75),
    ('bcd', 'abcd', 0.75),
    ('flaw', 'lawn', 0.5),
    ('Straße', 'straße', 1),
    ('café', 'cafe', 0.75),
    ('猫犬鳥', '猫犬魚', 2 / 3),
    ('👩‍🚀', '👩‍🚀', 1),
    ('a b', 'ab', 2 / 3),
  ],
)
def test_anls(answer, gold, want):
  assert scores.anls(answer, gold) == pytest.approx(want)
  assert scores.anls(gold, answer) == pytest.approx(want)


def test_anls_divides_by_the_text_as_it_was_written():
  """DocVQA's script strips for the distance, not for the length."""
  assert scores.anls('a  b', 'a c') == pytest.approx(1 - 1 / 4)


def test_an_unknown_score_lists_those_there_are():
  assert scores.named('anls') is scores.anls
  with pytest.raises(
    ValueError, match='"exakt" is none of exact, anls, relaxed, token'
  ):
    scores.named('exakt')


@pytest.mark.parametrize('name', list(scores.SCORES))
@pytest.mark.parametrize('answer', ['', 'a', 'a b c', 'x' * 50, '猫'])
@pytest.mark.parametrize('gold', ['', 'a b', '猫'])
def test_a_score_is_a_number_from_0_to_1(name, answer, gold):
  score = scores.named(name)(answer, gold)
  assert isinstance(score, float) and 0 <= score <= 1
  assert (score == 1) >= (answer == gold)

"""From words to tokens: what the model reads and what it must say."""

import numpy as np
import pytest

from visor_jax.data.sources import records
from visor_jax.data.suites import vocabulary

WORDS = vocabulary.Vocabulary(('a', 'b', 'x', 'yes', 'no'))


def turns(*pairs):
  return [records.Turn(q, a, q.split()[0]) for q, a in pairs]


def read(talk):
  """Tokens as words; those that the model should say in capitals."""
  words = [WORDS.words[i] for i in talk.tokens]
  return ' '.join(
    w.upper() if answer else w for w, answer in zip(words, talk.answer)
  )


def test_the_model_learns_answers_and_their_end_and_nothing_else():
  """Learning the questions too would spend the model on guessing them."""
  talk = WORDS.conversation(turns(('a x', 'yes'), ('b', 'no no')))
  assert read(talk) == 'user a x YES END user b NO NO END'
  assert talk.image_at == (1,)  # user <image> a x
  assert [WORDS.words[talk.tokens[p]] for p in talk.prompts] == ['x', 'b']
  assert talk.prompts.tolist() == [2, 6]
  assert talk.tokens.dtype == talk.prompts.dtype == np.int32


def test_a_prompt_is_the_first_question_alone():
  """The second question may tell the first answer."""
  talk = WORDS.prompt('a x')
  assert read(talk) == 'user a x'
  assert talk.prompts.tolist() == [2] and talk.image_at == (1,)
  trained = WORDS.conversation(turns(('a x', 'yes'), ('b', 'no')))
  np.testing.assert_array_equal(talk.tokens, trained.tokens[:3])


@pytest.mark.parametrize(
  'text,word', [('a q', 'q'), ('A', 'A'), ('a,', 'a,'), ('é', 'é')]
)
def test_a_word_that_is_not_in_the_vocabulary_is_named(text, word):
  with pytest.raises(ValueError, match=f'"{text}".*no word .{word}'):
    WORDS.encode(text)


def test_encode_and_decode_are_inverse():
  assert WORDS.decode(WORDS.encode('a no x')) == 'a no x'
  assert WORDS.encode('') == [] and WORDS.decode([]) == ''
  assert len(WORDS) == 8


@pytest.mark.parametrize(
  'text,want',
  [
    ('yes end', 'yes'),
    ('end yes', ''),
    ('a b', 'a b'),
    ('pad a', 'pad a'),
    ('user end', 'user'),
  ],
)
def test_decode_stops_at_end(text, want):
  """`pad` and `user` are words: an answer of them is wrong, not empty."""
  assert WORDS.decode(WORDS.encode(text)) == want


def test_a_token_without_a_word_is_a_wrong_answer():
  """A vocabulary is padded (sizes.digits has 64), so a model can say it."""
  assert WORDS.decode([len(WORDS), WORDS.end]) not in ('', 'a', 'yes')


def test_a_word_twice_is_an_error():
  with pytest.raises(ValueError, match='twice'):
    vocabulary.Vocabulary(('a', 'b', 'a'))
  with pytest.raises(ValueError, match='twice'):
    vocabulary.Vocabulary(('end',))

"""The tokenizer of the built-in suites: a token is a word, or a digit.

A turn is written `user` question answer `end`; the image's visual tokens stand
behind the first `user`. The model learns answers and their `end`. There is no
word between question and answer, because a small model that reads the answer
off the question's last word learns several times faster.
"""

from collections.abc import Iterable
import re

import numpy as np

from visor_jax.data.processing import processed
from visor_jax.data.sources import records
from visor_jax.spec import generation

_SPECIAL = ('pad', 'user', 'end')
_TOKENS = re.compile(r'\d|[^\s\d]+')
_BETWEEN_DIGITS = re.compile(r'(?<=\d) (?=\d)')


class Vocabulary:
  """A list of words; a token is the index of one.

  It is a protocols.Tokenizer of questions about one image.

  Attributes:
    words: all of them, the special ones first.
    end: the token that ends an answer.
    stops: likewise, alone.
    rules: none.
    notes: none.

  Args:
    words: those of the questions and answers, without repetition.

  Raises:
    ValueError: a word is there twice.
  """

  rules = generation.Rules()
  notes = ()

  def __init__(self, words: Iterable[str]):
    self.words = (*_SPECIAL, *words)
    self._id = {word: i for i, word in enumerate(self.words)}
    if len(self._id) != len(self.words):
      raise ValueError('the vocabulary holds a word twice')
    self.end = self._id['end']
    self.stops = frozenset([self.end])

  def __len__(self) -> int:
    return len(self.words)

  def encode(self, text: str) -> list[int]:
    """Tokens of the words of a text.

    Raises:
      ValueError: naming a word that the vocabulary lacks.
    """
    try:
      return [self._id[word] for word in _TOKENS.findall(text)]
    except KeyError as e:
      raise ValueError(
        f'"{text}": the vocabulary has no word {e}; it has '
        + ' '.join(self.words[len(_SPECIAL) :])
      ) from None

  def decode(self, ids: Iterable[int]) -> str:
    """Words up to the first `end`; digits in a row are a number."""
    words = []
    for i in ids:
      if i == self.end:
        break
      # Vocabularies are padded; an untrained model may say such a token.
      words.append(self.words[i] if i < len(self.words) else f'<{i}>')
    return _BETWEEN_DIGITS.sub('', ' '.join(words))

  def conversation(
    self, turns: Iterable[records.Turn], images: int = 1
  ) -> processed.Conversation:
    """Questions about one image with their answers, for training."""
    _require_one(images)
    tokens: list[int] = []
    answer: list[bool] = []
    prompts = []
    for turn in turns:
      prompt = self.encode(f'user {turn.question}')
      reply = self.encode(f'{turn.answer} end')
      tokens += prompt + reply
      answer += [False] * len(prompt) + [True] * len(reply)
      prompts.append(len(tokens) - len(reply) - 1)
    return processed.Conversation(
      np.array(tokens, np.int32),
      np.array(answer, bool),
      (1,),
      np.array(prompts, np.int32),
    )

  def prompt(
    self, question: str, images: int = 1, system: str = ''
  ) -> processed.Conversation:
    """A question about one image alone, up to where the answer begins.

    Raises:
      ValueError: a word is unknown, there is not one image, or a system speaks.
    """
    _require_one(images)
    if system:
      raise ValueError(f'system "{system}": this model has no words for it')
    tokens = np.array(self.encode(f'user {question}'), np.int32)
    return processed.Conversation(
      tokens,
      np.zeros(len(tokens), bool),
      (1,),
      np.array([len(tokens) - 1], np.int32),
    )


def _require_one(images: int) -> None:
  if images != 1:
    raise ValueError(
      f'{images} images: this model is asked about one image at a time'
    )

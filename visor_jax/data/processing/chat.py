"""Conversations about an image: from words to tokens.

A turn is written `user` question answer `end`; the image's visual tokens stand
behind the first `user`. The model learns answers and their `end`. There is no
word between question and answer, because a small model that reads the answer
off the question's last word learns several times faster.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Turn:
  """A question and its answer, words joined by spaces."""

  question: str
  answer: str
  family: str


@dataclasses.dataclass(frozen=True)
class Record:
  """What a source gives: images and a conversation about them.

  Attributes:
    id: names the record in errors and result rows.
    images: uint8 [images, height, width, 3].
    turns: the conversation.
  """

  id: str
  images: np.ndarray
  turns: tuple[Turn, ...]


@dataclasses.dataclass(frozen=True)
class Conversation:
  """A record's text in tokens.

  Attributes:
    tokens: int32 [n].
    answer: bool [n]; tokens that the model should produce.
    image_at: the visual tokens of each image stand before this token.
    prompts: int32 [turns]; the last token of each prompt.
  """

  tokens: np.ndarray
  answer: np.ndarray
  image_at: tuple[int, ...]
  prompts: np.ndarray


class Words:
  """A vocabulary of whole words; ids are places in the list.

  Args:
    words: of the questions and answers, without repetition.
  """

  special = ('pad', 'user', 'end')

  def __init__(self, words):
    self.words = self.special + tuple(words)
    self._id = {w: i for i, w in enumerate(self.words)}
    if len(self._id) != len(self.words):
      raise ValueError('the vocabulary holds a word twice')
    self.end = self._id['end']

  def __len__(self):
    return len(self.words)

  def encode(self, text: str) -> list[int]:
    """Ids of the words.

    Raises:
      ValueError: naming a word that the vocabulary lacks.
    """
    try:
      return [self._id[w] for w in text.split()]
    except KeyError as e:
      raise ValueError(f'"{text}": the vocabulary has no word {e}') from None

  def decode(self, ids) -> str:
    """Words up to the first `end`."""
    words = []
    for i in ids:
      if i == self.end:
        break
      # Vocabularies are padded; an untrained model may say such a token.
      words.append(self.words[i] if i < len(self.words) else f'<{i}>')
    return ' '.join(words)


def conversation(record: Record, words: Words) -> Conversation:
  """A record with its answers, for training."""
  tokens, answer, prompts = [], [], []
  for turn in record.turns:
    prompt = words.encode(f'user {turn.question}')
    reply = words.encode(f'{turn.answer} end')
    tokens += prompt + reply
    answer += [False] * len(prompt) + [True] * len(reply)
    prompts.append(len(tokens) - len(reply) - 1)
  return Conversation(
    np.array(tokens, np.int32),
    np.array(answer, bool),
    (1,),
    np.array(prompts, np.int32),
  )


def prompt(record: Record, words: Words) -> Conversation:
  """The first question alone."""
  tokens = np.array(words.encode(f'user {record.turns[0].question}'), np.int32)
  return Conversation(
    tokens,
    np.zeros(len(tokens), bool),
    (1,),
    np.array([len(tokens) - 1], np.int32),
  )

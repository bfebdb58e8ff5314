"""Pieces of a text: never half a letter, and joined they are the text."""

import random

import pytest

from visor_jax.eval import pieces

TEXT = 'Grüße, 你好 👋🏽, naïve café: \N{REPLACEMENT CHARACTER}!'


def decode(tokens):
  """A byte is a token, as in the worst case."""
  return bytes(tokens).decode('utf-8', 'replace')


@pytest.mark.parametrize('seed', range(5))
def test_pieces_are_letters_that_are_complete(seed):
  tokens, draw = list(TEXT.encode()), random.Random(seed)
  ends = sorted({*draw.sample(range(1, len(tokens)), 20), len(tokens)})
  got = [*pieces.of_text((tokens[:end] for end in ends), decode)]
  assert ''.join(got) == TEXT and all(got)
  assert sum(piece.count('\N{REPLACEMENT CHARACTER}') for piece in got) == 1


def test_half_a_letter_at_the_end_is_told_at_last():
  tokens = list('né'.encode())[:-1]
  got = [*pieces.of_text((tokens[:end] for end in (1, 2)), decode)]
  assert got == ['n', '\N{REPLACEMENT CHARACTER}']


def test_drain_returns_what_was_meant():
  def talk():
    yield 'a'
    yield 'b'
    return 3

  heard = []
  assert pieces.drain(talk(), heard.append) == 3 and heard == ['a', 'b']

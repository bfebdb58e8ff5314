"""Text as it comes: tokens to pieces of an answer."""

from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar('T')


def of_text(
  answers: Iterable[Sequence[int]], decode: Callable[[Iterable[int]], str]
) -> Iterator[str]:
  """Pieces of a text that grows, none of them empty; joined they are the text.

  A letter whose bytes are not all there waits for them.

  Args:
    answers: the tokens so far, each time with more of them.
    decode: tokens to text.
  """
  text = Text(decode)
  for tokens in answers:
    if piece := text.grow(tokens):
      yield piece
  if rest := text.rest():
    yield rest


class Text:
  """A text that grows.

  Args:
    decode: tokens to text.
  """

  def __init__(self, decode: Callable[[Iterable[int]], str]):
    self._decode = decode
    self._text = self._before = ''

  def grow(self, tokens: Sequence[int]) -> str:
    """What these tokens add to what was given out; they are all so far."""
    self._text = self._decode(tokens)
    ready = self._text.rstrip('\N{REPLACEMENT CHARACTER}')
    if not ready.startswith(self._before):
      return ''
    piece = ready[len(self._before) :]
    self._before = ready
    return piece

  def rest(self) -> str:
    """What waited for letters that never were whole."""
    return self._text[len(self._before) :]


def drain(
  pieces: Generator[str, None, T], tell: Callable[[str], object] = len
) -> T:
  """What a generator of pieces returns, each told as it comes."""
  while True:
    try:
      tell(next(pieces))
    except StopIteration as stop:
      return stop.value

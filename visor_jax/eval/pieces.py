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
  text = before = ''
  for tokens in answers:
    text = decode(tokens)
    ready = text.rstrip('\N{REPLACEMENT CHARACTER}')
    if len(ready) > len(before) and ready.startswith(before):
      yield ready[len(before) :]
      before = ready
  if len(text) > len(before):
    yield text[len(before) :]


def drain(
  pieces: Generator[str, None, T], tell: Callable[[str], object] = len
) -> T:
  """What a generator of pieces returns, each told as it comes."""
  while True:
    try:
      tell(next(pieces))
    except StopIteration as stop:
      return stop.value

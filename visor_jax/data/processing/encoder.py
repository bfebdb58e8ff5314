"""Text to tokens and back, by a checkpoint's own files, within bounds.

The files come from strangers. A pattern of theirs may take for ever on some
texts, a rule may make texts grow without end, and where the library gives up it
panics, which is no Exception. Here all of that is a ValueError.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import itertools
import json
import pathlib
import threading
from typing import Any

import tokenizers
from tokenizers import decoders
from tokenizers import models
from tokenizers import normalizers
from tokenizers import pre_tokenizers

from visor_jax.runtime import json_fields
from visor_jax.runtime import regular_files

MAX_BYTES = 1 << 27  # of a file; those of Qwen2 have 11 million
SECONDS = 20.0  # for a text
SHORT = 100  # characters that no pattern can take long for
GROWTH = 1000  # times that rules may make a text longer

# Of Qwen2Tokenizer in transformers: contractions, words, single digits,
# punctuation, line ends, spaces.
_QWEN2 = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| "
  r'?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+'
)


class UnknownToken(ValueError):
  """The embedding has no row for a token of a text."""


class Encoder:
  """A checkpoint's tokenizer.

  Args:
    folder: holds tokenizer.json, or vocab.json and merges.txt as of Qwen2.
    rows: of the embedding; None where nobody knows.

  Raises:
    FileNotFoundError: it holds neither.
    ValueError: a file is broken, or asks for more than it may.
  """

  def __init__(self, folder: pathlib.Path, rows: int | None = None):
    self._folder, self._rows = folder, rows
    self._slow = ''  # why nothing is encoded any more
    with _no_panic(f'{folder}: its tokenizer cannot be read'):
      self._tokenizer = _read(folder)
      self._tokenizer.no_truncation()  # both may be left over from training
      self._tokenizer.no_padding()
      _check_growth(self._tokenizer, folder)

  def id_of(self, token: str) -> int | None:
    """The number of a token; None where there is no such token."""
    return self._tokenizer.token_to_id(token)

  def token_of(self, number: int) -> str:
    """The token of a number; '' where there is none."""
    return self._tokenizer.id_to_token(number) or ''

  def encode(self, text: str) -> list[int]:
    """The tokens of a text; raises as `encode_all`."""
    return self.encode_all([text])[0]

  def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts.

    Raises:
      UnknownToken: the embedding has no row for one of their tokens.
      ValueError: one is no Unicode text, or the tokenizer fails on it or takes
        too long.
    """
    longest = max(texts, key=len, default='')
    for text in texts:
      _require_unicode(text)
    with _no_panic(f'the tokenizer fails on "{_shortened(longest)}"'):
      if len(longest) <= SHORT:
        tokens = [self._encode(text) for text in texts]
      else:
        tokens = self._within_seconds(texts)
    for number in itertools.chain.from_iterable(tokens):
      if self._rows is not None and number >= self._rows:
        raise UnknownToken(
          f'"{self.token_of(number)}" is token {number}, but the embedding has '
          f'{self._rows} rows: this model does not know it'
        )
    return tokens

  def _encode(self, text: str) -> list[int]:
    return self._tokenizer.encode(text, add_special_tokens=False).ids

  def decode(self, ids: Sequence[int]) -> str:
    """The text of tokens, without special ones."""
    with _no_panic('the tokenizer fails on an answer'):
      return self._tokenizer.decode(ids, skip_special_tokens=True)

  @property
  def notes(self) -> tuple[str, ...]:
    """What a person should know: tokens for which the embedding has no row."""
    count, rows = self._tokenizer.get_vocab_size(), self._rows
    if rows is None or count <= rows:
      return ()
    return (
      f'the tokenizer has {count} tokens, the embedding {rows} rows: texts '
      f'with "{self.token_of(rows)}" and those behind it will be refused',
    )

  def _within_seconds(self, texts: Sequence[str]) -> list[list[int]]:
    """Encodes in a thread, which is left to itself where it takes too long.

    In one for all, because to start it takes longer than to encode a sentence.
    """
    if self._slow:
      raise ValueError(self._slow)
    result: list[list[list[int]] | BaseException] = []

    def encode() -> None:
      try:  # a batch, in which others may run meanwhile
        batch = self._tokenizer.encode_batch(texts, add_special_tokens=False)
        result.append([encoding.ids for encoding in batch])
      except BaseException as e:  # raised again below
        result.append(e)

    thread = threading.Thread(target=encode, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if not result:
      self._slow = (
        f'{self._folder}: its tokenizer took more than {SECONDS:g} s for '
        f'{sum(map(len, texts))} characters; nothing more is encoded with it'
      )
      raise ValueError(self._slow)
    if isinstance(result[0], BaseException):
      raise result[0]
    return result[0]


@contextlib.contextmanager
def _no_panic(what: str) -> Iterator[None]:
  """Makes a ValueError of whatever the library raises."""
  try:
    yield
  except (OSError, ValueError, KeyboardInterrupt, SystemExit):
    raise
  except BaseException as e:
    raise ValueError(f'{what}: {_shortened(str(e))}') from None


def _require_unicode(text: str) -> None:
  """Raises a ValueError where a text has half of a character."""
  try:
    text.encode()
  except UnicodeEncodeError as e:
    raise ValueError(
      f'{_shortened(text)!r} is no Unicode text: character {e.start} is half '
      'of one'
    ) from None


def _shortened(text: str, most: int = 200) -> str:
  return text if len(text) <= most else f'{text[:most]} ...'


def _read(folder: pathlib.Path) -> tokenizers.Tokenizer:
  """The tokenizer of a folder, from where transformers looks, in order."""
  path = folder / 'tokenizer.json'
  if path.exists():
    text = regular_files.read(path, MAX_BYTES).decode('utf-8')
    return tokenizers.Tokenizer.from_str(text)
  if not (folder / 'vocab.json').exists():
    raise FileNotFoundError(
      f'{folder} has neither tokenizer.json nor vocab.json and merges.txt'
    )
  return _qwen2(folder)


def _qwen2(folder: pathlib.Path) -> tokenizers.Tokenizer:
  """Qwen2's, from the files that transformers' slow tokenizer had."""
  settings = json_fields.read_if_there(folder / 'tokenizer_config.json')
  kind = settings.text('tokenizer_class', '')
  if kind not in ('Qwen2Tokenizer', 'Qwen2TokenizerFast'):
    raise settings.error(
      'tokenizer_class', 'Qwen2Tokenizer, or a tokenizer.json in the folder'
    )
  merges = regular_files.read(folder / 'merges.txt', MAX_BYTES).decode('utf-8')
  lines = (line.split() for line in merges.split('\n'))
  pairs = [(x[0], x[1]) for x in lines if x and x[0] != '#version:']
  vocabulary = json_fields.read(folder / 'vocab.json', MAX_BYTES)
  tokenizer = tokenizers.Tokenizer(
    models.BPE(vocab=dict(vocabulary.values), merges=pairs)
  )
  tokenizer.normalizer = normalizers.NFC()
  tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [
      pre_tokenizers.Split(tokenizers.Regex(_QWEN2), 'isolated'),
      pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
  )
  tokenizer.decoder = decoders.ByteLevel()
  added = _added(folder, settings)
  tokenizer.add_tokens([*added.values()])
  for number, token in added.items():
    if tokenizer.token_to_id(token.content) != number:
      raise ValueError(
        f'{folder}: "{token.content}" should be token {number}, but behind '
        f'vocab.json it is {tokenizer.token_to_id(token.content)}'
      )
  return tokenizer


def _added(
  folder: pathlib.Path, settings: json_fields.Fields
) -> dict[int, tokenizers.AddedToken]:
  """{number: token} of those beside the vocabulary, in order."""
  decoder = settings.fields('added_tokens_decoder')
  options = ('single_word', 'lstrip', 'rstrip', 'normalized', 'special')
  added = {
    int(number): tokenizers.AddedToken(
      decoder.fields(number).text('content'),
      **{name: decoder.fields(number).flag(name, False) for name in options},
    )
    for number in decoder.values
  }
  if not added:
    older = json_fields.read_if_there(folder / 'added_tokens.json')
    special = {v for v in settings.values.values() if isinstance(v, str)}
    special |= set(settings.strings('additional_special_tokens'))
    added = {
      older.integer(token, least=0): tokenizers.AddedToken(
        token, normalized=False, special=token in special
      )
      for token in older.values
    }
  return dict(sorted(added.items()))


def _check_growth(
  tokenizer: tokenizers.Tokenizer, folder: pathlib.Path
) -> None:
  """Raises a ValueError where texts could become much longer."""
  for part in (tokenizer.normalizer, tokenizer.decoder):
    growth = 1
    for rule in _rules(json.loads(part.__getstate__()) if part else {}):
      for key in ('content', 'prepend', 'replacement'):
        if isinstance(rule.get(key), str):
          growth *= max(1, len(rule[key]))
    if growth > GROWTH:
      raise ValueError(
        f'{folder}: rules of its tokenizer make a text {growth} times as long; '
        f'expected at most {GROWTH}'
      )


def _rules(value: Any) -> Iterable[dict[str, Any]]:
  """All objects in a JSON value."""
  if isinstance(value, dict):
    yield value
    value = list(value.values())
  if isinstance(value, list):
    for item in value:
      yield from _rules(item)

"""A checkpoint's own words: its tokenizer and its chat template.

The template says what stands around questions and answers; nothing of it is
repeated here. An image is written `<image>` and is no token: it leaves a gap
between two, where its visual tokens will stand.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import itertools
import pathlib
import re
from typing import Any

import numpy as np

from visor_jax.data.processing import chat_template
from visor_jax.data.processing import encoder
from visor_jax.data.processing import generation_config
from visor_jax.data.processing import processed
from visor_jax.data.sources import records
from visor_jax.runtime import json_fields
from visor_jax.runtime import regular_files

Message = dict[str, Any]  # {role, content}
Piece = tuple[str, bool]  # a text, and whether the model says it

_MARKERS = re.compile(rf'((?:{records.IMAGE}\s*)*)(.*)', re.DOTALL)


class Tokenizer:
  """Text to tokens and back, as a checkpoint's folder says.

  Attributes:
    end: the token that ends an answer.
    stops: all tokens at which an answer is over, `end` among them.
    rules: what else decides which token comes next.
    pad: the token of slots without text.
    notes: what a person should know of its answers.

  Args:
    folder: holds a tokenizer, see encoder.py, tokenizer_config.json, a chat
      template and, where there are such, config.json and
      generation_config.json.
    image: what the template writes for an image.
    gap: what of that its visual tokens replace; None for all of it.
    rows: of the embedding; None where nobody knows.

  Raises:
    FileNotFoundError: there is no tokenizer.
    ValueError: a file is broken, there is no chat template, none of the tokens
      said to stop an answer ends one, or a rule is not known here.
  """

  def __init__(
    self,
    folder: pathlib.Path | str,
    image: str = records.IMAGE,
    gap: str | None = None,
    rows: int | None = None,
  ):
    folder = pathlib.Path(folder)
    self._image = image
    self._marked = image.replace(gap or image, records.IMAGE)
    self._encoder = encoder.Encoder(folder, rows)
    settings = json_fields.read_if_there(folder / 'tokenizer_config.json')
    self._special = _special_tokens(settings)
    self._template = chat_template.ChatTemplate(
      _template(folder, settings), self._special
    )
    # A template for text alone takes a string where others take a list, and
    # others take one for what the system says.
    self._list_roles: set[str] = {'user', 'assistant', 'system'}
    if records.IMAGE not in self._try(self._message('user', '?', 1)):
      self._list_roles = set()
    elif "{'" in self._try(
      self._message('system', '!'), self._message('user', '?')
    ):
      self._list_roles -= {'system'}
    id_of = self._encoder.id_of
    end = id_of(self._special.get('eos_token', ''))
    self.stops = _stops(folder) | ({end} if end is not None else set())
    self.rules = generation_config.read(folder, self.stops)
    turn = self._render(
      self._message('user', '?'), self._message('assistant', '!')
    )
    ends = [i for i in self._encoder.encode(turn) if i in self.stops]
    if not ends:
      raise ValueError(
        f'{folder}: the chat template writes "{turn}", which '
        f'holds none of the eos tokens {sorted(self.stops)}'
      )
    self.end = ends[-1]
    pad = id_of(self._special.get('pad_token', ''))
    self.pad = self.end if pad is None else pad
    self.notes = (*self._encoder.notes, *generation_config.notes(folder))

  def conversation(
    self, turns: Sequence[records.Turn], images: int
  ) -> processed.Conversation:
    """Questions with their answers, for training.

    Every prompt is written as `prompt` writes it, so that the model is trained
    on what it will be asked, also by templates that write an answer's header in
    two ways. White space around an answer is left out.

    Args:
      turns: of a record. Either every image has its marker somewhere, or all
        stand before the first question.
      images: how many there are.

    Raises:
      ValueError: the markers are not one per image, a question or an answer is
        empty, or the template has no place for what the system says, or
        rewrites earlier turns.
    """
    end = self._encoder.token_of(self.end)
    marked = any(
      records.IMAGE in turn.system + turn.question + turn.answer
      for turn in turns
    )
    messages: list[Message] = []
    pieces: list[Piece] = []
    past = ''
    for number, turn in enumerate(turns):
      answer = turn.answer.strip()
      if not answer:
        raise ValueError(f'the answer to "{turn.question}" is empty')
      in_front = 0 if marked or number else images
      messages += self._ask(turn.question, in_front, turn.system)
      prompt = self._render(*messages, add_generation_prompt=True)
      if not prompt.startswith(past):
        raise ValueError('the chat template rewrites earlier turns')
      asked = prompt[len(past) :]
      _require_system(turn.system, asked)
      pieces += [(asked, False), (answer + end, True)]
      messages.append(self._message('assistant', answer))
      past = self._render(*messages)
      if end not in past:
        raise ValueError(f'the chat template writes no {end} after "{answer}"')
      past = past[: past.rindex(end) + len(end)]
    return self._talk(pieces, images)

  def prompt(
    self, question: str, images: int, system: str = ''
  ) -> processed.Conversation:
    """A question alone, up to where the answer begins.

    Args:
      question: with a marker for each image or none; then all stand in front.
      images: how many there are.
      system: what the system says before it; '' for nothing.

    Raises:
      ValueError: the markers are not one per image, there is no question, or
        the template has no place for what the system says.
    """
    marked = records.IMAGE in system + question
    messages = self._ask(question, 0 if marked else images, system)
    prompt = self._render(*messages, add_generation_prompt=True)
    _require_system(system, prompt)
    return self._talk([(prompt, False)], images)

  def decode(self, ids: Iterable[int]) -> str:
    """The text of tokens up to the end of the turn, without special tokens."""
    ids = [int(i) for i in ids]
    stop = next((k for k, i in enumerate(ids) if i in self.stops), len(ids))
    return self._encoder.decode(ids[:stop])

  def _ask(self, question: str, images: int, system: str) -> list[Message]:
    """The messages of a question, and of what the system says before it.

    A question that opens with its markers leaves the place to the template.

    So '<image>\\nWhy?' in training data is the prompt that 'Why?' becomes.
    """
    if not question.replace(records.IMAGE, '').strip():
      raise ValueError(f'the question "{question}" is empty')
    match = _MARKERS.fullmatch(question)
    front, rest = match.groups() if match else ('', question)
    if front and records.IMAGE not in rest:
      images, question = front.count(records.IMAGE), rest
    messages = [self._message('system', system)] if system else []
    return [*messages, self._message('user', question, images)]

  def _message(self, role: str, text: str, images: int = 0) -> Message:
    if role not in self._list_roles:
      return dict(role=role, content=f'{records.IMAGE}\n' * images + text)
    return dict(
      role=role,
      content=[{'type': 'image'}] * images + [{'type': 'text', 'text': text}],
    )

  def _render(
    self, *messages: Message, add_generation_prompt: bool = False
  ) -> str:
    text = self._template.render(messages, add_generation_prompt)
    return text.replace(self._image, records.IMAGE)

  def _try(self, *messages: Message) -> str:
    """What the template makes of messages; '' where it refuses."""
    try:
      return self._render(*messages)
    except ValueError:
      return ''

  def _talk(
    self, pieces: Sequence[Piece], images: int
  ) -> processed.Conversation:
    """Tokens of pieces that stand one behind the other."""
    tokens: list[int] = []
    answer: list[bool] = []
    image_at: list[int] = []
    prompts: list[int] = []
    split = [
      text.replace(records.IMAGE, self._marked).split(records.IMAGE)
      for text, _ in pieces
    ]
    parts = [*itertools.chain.from_iterable(split)]
    encoded = iter(self._encoder.encode_all(parts))
    for in_piece, (_, answers) in zip(split, pieces):
      for k in range(len(in_piece)):
        if k:
          image_at.append(len(tokens))
        tokens += next(encoded)
      answer += [answers] * (len(tokens) - len(answer))
      if not answers:
        prompts.append(len(tokens) - 1)
    if len(image_at) != images:
      raise ValueError(
        f'the text has {len(image_at)} {records.IMAGE} for {images} images'
      )
    return processed.Conversation(
      np.array(tokens, np.int32),
      np.array(answer, bool),
      tuple(image_at),
      np.array(prompts, np.int32),
    )


def _special_tokens(settings: json_fields.Fields) -> dict[str, str]:
  """{'eos_token': its text, ...} of those that tokenizer_config.json names."""
  tokens = {}
  for name, token in settings.values.items():
    if isinstance(token, dict):
      token = token.get('content')
    if name.endswith('_token') and isinstance(token, str):
      tokens[name] = token
  return tokens


def _stops(folder: pathlib.Path) -> frozenset[int]:
  """All that the files of a folder name as tokens that end an answer."""
  config = json_fields.read_if_there(folder / 'config.json')
  generation = json_fields.read_if_there(folder / 'generation_config.json')
  return frozenset(
    token
    for fields in (config, config.fields('text_config'), generation)
    for token in fields.integers('eos_token_id', [])
  )


def _template(folder: pathlib.Path, settings: json_fields.Fields) -> str:
  """The chat template, from where transformers' processors look, in order."""
  key = 'chat_template'
  jinja = folder / 'chat_template.jinja'
  alone: Any = None
  if jinja.exists():
    text = regular_files.read(jinja, chat_template.SOURCE * 4)
    alone = text.decode('utf-8')
  processor = json_fields.read_if_there(folder / 'processor_config.json')
  older = json_fields.read_if_there(folder / 'chat_template.json')
  template = (
    processor.values.get(key)
    or older.values.get(key)
    or alone
    or settings.values.get(key)
  )
  if isinstance(template, list):
    named = [json_fields.Fields({key: t}, '').fields(key) for t in template]
    template = {t.text('name'): t.text('template') for t in named}
  if isinstance(template, dict):
    template = template.get('default')
  if not template or not isinstance(template, str):
    raise ValueError(
      f'{folder}: no chat template in chat_template.jinja, '
      'chat_template.json or tokenizer_config.json'
    )
  return template


def _require_system(system: str, prompt: str) -> None:
  """Raises a ValueError where the template leaves out what the system says."""
  if system.strip() not in prompt:
    raise ValueError(
      f'the chat template has no place for what the system says: "{system}"'
    )

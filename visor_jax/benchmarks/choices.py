"""Which of several choices an answer means, by the rules of `scores.RULES`."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import random
import re

from visor_jax.benchmarks import scores

# fmt: off
_PHRASES = [
  f'{article}{noun} is'
  for article in ('', 'the ')
  for noun in (
    'answer', 'correct answer', 'best answer', 'correct option', 'best option',
    'choice', 'correct choice',
  )
] + [
  'i choose', 'i select', 'i pick', 'my answer is', 'my choice is', '옵션',
  '정답은', '답은', '답:', '答案是', '答案为', '选', '答えは',
]
# fmt: on

# How surely each way to write a choice means it.
_AT_START, _AT_END, _BEHIND_PHRASE, _ANYWHERE = 10, 9, 7, 0
_FORMS = (('({})', 6), ('{}.', 5), ('{}:', 4), ('{})', 3), ('{} ', 2))


def letter(answer: str, choices: Sequence[str] = 'ABCD') -> str:
  """The choice that an answer most likely means, '' for none.

  Candidates are ranked by how they are written: at the start, at the end, after
  words like "the answer is", (B), B., B:, B), B, anywhere; then the last one.
  """
  bare = _stripped(answer, ',.!?;:\'"')
  text, bare = f' {bare} ', bare.strip()
  candidates = [  # (rank, where, choice)
    *_at_the_ends(bare, choices),
    *_written_as_a_choice(text, choices),
    *_behind_a_phrase(text, choices),
  ]
  if not candidates:
    candidates = [
      (_ANYWHERE, text.rfind(choice), choice)
      for choice in choices
      if choice in text
    ]
  return max(candidates)[2] if candidates else ''


def _stripped(text: str, marks: str) -> str:
  """Without space around it, then without each mark in turn."""
  text = text.strip()
  for mark in marks:
    text = text.strip(mark)
  return text


def _at_the_ends(
  text: str, choices: Sequence[str]
) -> Iterable[tuple[int, int, str]]:
  for choice in choices:
    if text.startswith(choice) and not text[1:2].isalpha():
      yield _AT_START, 0, choice
    if text.endswith(choice) and not text[-2:-1].isalpha():
      yield _AT_END, 0, choice


def _written_as_a_choice(
  text: str, choices: Sequence[str]
) -> Iterable[tuple[int, int, str]]:
  for choice in choices:
    for form, rank in _FORMS:
      at = text.rfind(form.format(choice))
      if at >= 0:
        yield rank, at, choice


def _behind_a_phrase(
  text: str, choices: Sequence[str]
) -> Iterable[tuple[int, int, str]]:
  for phrase in _PHRASES:
    start = text.lower().find(phrase)
    if start < 0:
      continue
    for choice in choices:
      at = text.find(choice, start + len(phrase))
      if at >= 0:
        yield _BEHIND_PHRASE, at, choice


def leading_letter(answer: str, gold: str) -> float:
  """1 for the letter alone, or with a full stop behind it (ScienceQA)."""
  answer, gold = answer.strip(), gold.strip().lower()
  if answer.lower() != gold and answer[:1].isupper() and answer[1:2] == '.':
    answer = answer[0]
  return float(answer.lower() == gold)


def first_character(answer: str, gold: str) -> float:
  """1 for the right first character, whatever follows (SeedBench)."""
  return scores.caseless(answer.strip()[:1], gold)


def letter_before_stop(answer: str, gold: str) -> float:
  """`scores.unpunctuated`; of "B. ..." the letter counts (AI2D)."""
  match = re.match(r'\s*([A-Z])\.', answer)
  return scores.unpunctuated(match[1] if match else answer, gold)


def letter_or_words(answer: str, gold: str) -> float:
  """`letter` where the right answer is one, else the words (RealWorldQA)."""
  gold = gold.strip()
  if gold.upper() in ('A', 'B', 'C', 'D'):
    return float(letter(answer) == gold.upper())
  return float(answer.strip().lower().strip().rstrip('.') == gold.lower())


# fmt: off
_AROUND = (
  '{}', '{}.', '{},', '{}:', '{})', '{}).', '({})', '({}).', ':{}', ':{},',
  ':{}.', ':{})', ':{}).',
)
# fmt: on


def named_option(answer: str, texts: Mapping[str, str]) -> str:
  """The choice that is named as a word, or whose text is repeated (MMBench).

  Where neither is so, the harness asks a judge, or, for its static score, takes
  `letter`, as this does.

  Args:
    answer: the model's words.
    texts: {letter: text of the choice}, of A to D.
  """
  words = answer.split()
  for form in _AROUND:
    named = [choice for choice in 'ABCDE' if form.format(choice) in words]
    # The article is no choice: "A cat and a dog".
    article = form == '{}' and 'A' in words and len(words) > 3
    if len(named) == 1 and not article:
      return named[0]
  repeated = [
    choice
    for choice, text in texts.items()
    if str(text).lower() in answer.lower()
  ]
  if len(repeated) == 1:
    return repeated[0]
  return letter(answer, ''.join(sorted(texts)))


# MMMU ------------------------------------------------------------------------


def letter_or_draw(answer: str, options: Sequence[str], seed: str) -> str:
  """The letter of an option; drawn where the answer has none (MMMU).

  Args:
    answer: the model's words.
    options: texts of A, B, ...
    seed: of the draw; the harness goes on with Python's global state, so that
      its number depends on what was scored before.
  """
  bare = _stripped(answer, ",.!?;:'")
  text = f' {bare} '
  texts = {chr(ord('A') + i): option for i, option in enumerate(options)}
  for form, anchor in (('({})', '({})'), ('{} ', ' {} '), ('{}.', ' {} ')):
    written = [choice for choice in texts if form.format(choice) in text]
    if written:
      return max(written, key=lambda c: text.rfind(anchor.format(c)))
  lower = text.lower()
  if len(text.split()) > 5:
    repeated = [c for c, option in texts.items() if option.lower() in lower]
    if repeated:
      return max(repeated, key=lambda c: lower.rfind(texts[c].lower()))
  return random.Random(seed).choice([*texts])


# fmt: off
_CONCLUSIONS = (
  'could be ', 'so ', 'is ', 'thus ', 'therefore ', 'final ', 'answer ',
  'result ',
)
# fmt: on
_NUMBERS = [
  re.compile(pattern)
  for pattern in (
    r'-?\b\d{1,3}(?:,\d{3})+\b',  # 1,000
    r'-?\d+(?:\.\d+)?[eE][+-]?\d+',  # 1e3
    r'-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])',  # neither
  )
]


def open_answer(answer: str, gold: str) -> float:
  """1 for the right words or number where the answer concludes (MMMU)."""
  conclusions = _conclusions(answer)
  numbers = [
    number
    for text in conclusions
    for pattern in _NUMBERS
    for number in pattern.findall(text)
  ]
  candidates = [
    value for text in conclusions + numbers for value in _normal(text)
  ]
  golds = _normal(gold)
  return float(any(_agrees(value, golds) for value in candidates))


def _conclusions(answer: str) -> list[str]:
  """The shortest text behind a word of conclusion, line by line.

  The whole answer where no line has one.
  """
  lines = answer.strip().strip('.').lower().split('\n')
  conclusions = []
  for number, line in enumerate(lines, start=1):
    last = number == len(lines)
    keys = (*_CONCLUSIONS, '=') if last else _CONCLUSIONS
    shortest = ''
    for key in keys:
      if key in line:
        part = line.split(key)[-1].strip()
        shortest = min(shortest or part, part, key=len)
    if shortest and shortest not in tuple(":,.!?;'"):
      conclusions.append(shortest)
  return conclusions or ['\n'.join(lines)]


def _normal(text: str) -> list[float | str]:
  """A number to two places, or small letters; one alone has a space beside."""
  text = text.strip()
  try:
    return [round(float(text.replace(',', '')), 2)]
  except ValueError:
    lower = text.lower()
    return [f' {lower}', f'{lower} '] if len(lower) == 1 else [lower]


def _agrees(value: float | str, golds: list[float | str]) -> bool:
  """A number is one of the right ones; a text holds one of them."""
  if isinstance(value, str):
    return any(isinstance(gold, str) and gold in value for gold in golds)
  return value in golds

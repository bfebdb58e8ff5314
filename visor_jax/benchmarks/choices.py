"""Which of some choices an answer means, by the rules of `scores.RULES`."""

import random
import re

from visor_jax.benchmarks import scores

_CHOICE = [
  f'{the}{what} is'
  for the in ('', 'the ')
  for what in (
    'answer',
    'correct answer',
    'best answer',
    'correct option',
    'best option',
    'choice',
    'correct choice',
  )
] + [
  'i choose',
  'i select',
  'i pick',
  'my answer is',
  'my choice is',
  '옵션',
  '정답은',
  '답은',
  '답:',
  '答案是',
  '答案为',
  '选',
  '答えは',
]
_FORMS = (('({})', 6), ('{}.', 5), ('{}:', 4), ('{})', 3), ('{} ', 2))


def letter(answer: str, choices: str = 'ABCD') -> str:
  """The choice that an answer most likely means, '' for none.

  Candidates are ranked by how they are written: at the start, at the end, after
  words like "the answer is", (B), B., B:, B), B, anywhere; then the last one.
  """
  text = answer.strip()
  for mark in ',.!?;:\'"':
    text = text.strip(mark)
  text, bare = f' {text} ', text.strip()
  found = []
  for choice in choices:
    if bare.startswith(choice) and not bare[1:2].isalpha():
      found.append((10, 0, choice))
    if bare.endswith(choice) and not bare[-2:-1].isalpha():
      found.append((9, 0, choice))
    found += [
      (rank, text.rfind(form.format(choice)), choice)
      for form, rank in _FORMS
      if form.format(choice) in text
    ]
  for phrase in _CHOICE:
    at = text.lower().find(phrase)
    if at >= 0:
      places = [(text.find(c, at + len(phrase)), c) for c in choices]
      found += [(7, place, c) for place, c in places if place >= 0]
  found = found or [(0, text.rfind(c), c) for c in choices if c in text]
  return max(found)[2] if found else ''


def opens_with(answer: str, gold: str) -> float:
  """The letter alone, or one with a full stop in front (ScienceQA)."""
  said, gold = answer.strip(), gold.strip().lower()
  if said.lower() != gold and said[:1].isupper() and said[1:2] == '.':
    said = said[0]
  return float(said.lower() == gold)


def opens_with_any(answer: str, gold: str) -> float:
  """The first character, whatever follows (SeedBench)."""
  return scores.caseless(answer.strip()[:1], gold)


def stopped(answer: str, gold: str) -> float:
  """`scores.unpunctuated`; of "B. ..." the letter counts (AI2D)."""
  found = re.match(r'\s*([A-Z])\.', answer)
  return scores.unpunctuated(found[1] if found else answer, gold)


def letter_or_words(answer: str, gold: str) -> float:
  """`letter` where the right answer is one, else the words (RealWorldQA)."""
  gold = gold.strip()
  if gold.upper() in ('A', 'B', 'C', 'D'):
    return float(letter(answer) == gold.upper())
  return float(answer.strip().lower().strip().rstrip('.') == gold.lower())


_AROUND = (
  '{}',
  '{}.',
  '{},',
  '{}:',
  '{})',
  '{}).',
  '({})',
  '({}).',
  ':{}',
  ':{},',
  ':{}.',
  ':{})',
  ':{}).',
)


def option(answer: str, choices: dict[str, str]) -> str:
  """The choice that is named as a word, or whose text is repeated (MMBench).

  Where neither is so, the harness asks a judge, or, for its static score, takes
  `letter`, as we do.

  Args:
    answer: what was said.
    choices: {letter: text}, of A to D.
  """
  words = answer.split()
  for form in _AROUND:
    named = [c for c in 'ABCDE' if form.format(c) in words]
    if len(named) == 1 and not (
      form == '{}' and 'A' in words and len(words) > 3
    ):  # "A cat and a dog"
      return named[0]
  repeated = [
    c for c, text in choices.items() if str(text).lower() in answer.lower()
  ]
  if len(repeated) == 1:
    return repeated[0]
  return letter(answer, ''.join(sorted(choices)))


# MMMU ------------------------------------------------------------------------


def lettered(answer: str, options, seed) -> str:
  """The letter of an option; drawn where the answer has none (MMMU).

  Args:
    answer: what was said.
    options: their texts.
    seed: of the draw; the harness goes on with Python's global state, so that
      its number depends on what was scored before.
  """
  said = answer.strip()
  for mark in ",.!?;:'":
    said = said.strip(mark)
  said = f' {said} '
  texts = {chr(ord('A') + i): text for i, text in enumerate(options)}
  for form, place in (('({})', '({})'), ('{} ', ' {} '), ('{}.', ' {} ')):
    found = [c for c in texts if form.format(c) in said]
    if found:
      return max(found, key=lambda c: said.rfind(place.format(c)))
  low = said.lower()
  found = [
    c
    for c, text in texts.items()
    if len(said.split()) > 5 and text.lower() in low
  ]
  if found:
    return max(found, key=lambda c: low.rfind(texts[c].lower()))
  return random.Random(seed).choice([*texts])


_KEYS = (
  'could be ',
  'so ',
  'is ',
  'thus ',
  'therefore ',
  'final ',
  'answer ',
  'result ',
)
_NUMBERS = [
  re.compile(p)
  for p in (
    r'-?\b\d{1,3}(?:,\d{3})+\b',  # 1,000
    r'-?\d+(?:\.\d+)?[eE][+-]?\d+',  # 1e3
    r'-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])',
  )
]  # neither


def open_answer(answer: str, gold: str) -> float:
  """The right words or number where the answer seems to conclude (MMMU)."""
  lines = answer.strip().strip('.').lower().split('\n')
  tails = []
  for number, line in enumerate(lines, start=1):
    tail = ''
    for key in _KEYS + ('=',) * (number == len(lines)):
      if key in line:
        part = line.split(key)[-1].strip()
        tail = min(tail or part, part, key=len)
    if tail and tail not in tuple(":,.!?;'"):
      tails.append(tail)
  tails = tails or ['\n'.join(lines)]
  said = tails + [n for t in tails for p in _NUMBERS for n in p.findall(t)]
  said, right = (
    [n for t in some for n in _normal(t)] for some in (said, [gold])
  )
  return float(
    any(
      any(isinstance(r, str) and r in s for r in right)
      if isinstance(s, str)
      else s in right
      for s in said
    )
  )


def _normal(text):
  """A number to two places, or small letters; one alone has a space beside."""
  text = text.strip()
  try:
    return [round(float(text.replace(',', '')), 2)]
  except ValueError:
    low = text.lower()
    return [f' {low}', f'{low} '] if len(low) == 1 else [low]

"""How benchmarks ask: the text and the images of a question.

Each takes a row of the hub's table, {column: value}. Texts are, to the letter,
those that `scores.RULES` sends.
"""

import ast
from collections.abc import Iterable
from collections.abc import Mapping
import re
from typing import Any

Fields = Mapping[str, Any]

SHORT = '\nAnswer the question using a single word or phrase.'
LETTER = "\nAnswer with the option's letter from the given choices directly."


def question(fields: Fields) -> str:
  """The question alone."""
  return fields['question'].strip()


def short_answer(fields: Fields) -> str:
  """The question, to be answered in a word or phrase."""
  return fields['question'] + SHORT


def stripped_short_answer(fields: Fields) -> str:
  """`short_answer` without space around the question (POPE)."""
  return fields['question'].strip() + SHORT


def capitalized_short_answer(fields: Fields) -> str:
  """`short_answer` with one capital, at the start (TextVQA)."""
  return fields['question'].capitalize() + SHORT


def single_word(fields: Fields) -> str:
  """The question, to be answered in a word (ChartQA)."""
  return f'{fields["question"]}\nAnswer the question with a single word.'


def ai2d(fields: Fields) -> str:
  """The question over its options."""
  return f'{fields["question"]}\n{_listed(fields["options"])}{LETTER}'


def scienceqa(fields: Fields) -> str:
  """The context, where there is one, and the question over its options."""
  context = f'Context: {fields["hint"]}\n' if fields['hint'] else ''
  return f'{context}{fields["question"]}\n{_listed(fields["choices"])}{LETTER}'


def mme(fields: Fields) -> str:
  """The question, whose last words are replaced."""
  return _without_instruction(fields) + SHORT


def mmstar(fields: Fields) -> str:
  """The question, which holds its options."""
  return _without_instruction(fields) + LETTER.rstrip('.')


def mmbench(fields: Fields) -> str:
  """The hint, if any, and the question over its options, a line for each."""
  options = ''.join(
    f'{letter}. {fields[letter]}\n'
    for letter in 'ABCDE'
    if fields.get(letter) and _is_text(fields[letter])
  )
  hint = f'{fields["hint"]} ' if _is_text(fields['hint']) else ''
  asked = f'{hint}{fields["question"]} There are several options:\n{options}'
  return asked.rstrip('\n') + '\n' + LETTER


def seedbench(fields: Fields) -> str:
  """The question over its four options."""
  options = _listed(fields[f'choice_{letter}'] for letter in 'abcd')
  return f'{fields["question"]}\n{options}{LETTER}'


def mmmu(fields: Fields) -> str:
  """The question over its options, where it has some.

  Its places <image 1> stay words, and all images stand in front.
  """
  if is_multiple_choice(fields):
    options = _listed(ast.literal_eval(fields['options']))
    return f'{fields["question"]}\n{options}\n{LETTER}'
  return f'{fields["question"]}\n{SHORT}'


def is_multiple_choice(fields: Fields) -> bool:
  """Whether a question of MMMU has options."""
  return fields['question_type'] == 'multiple-choice'


def _listed(options: Iterable[str]) -> str:
  """A. and the first option, B. and the second, ..."""
  return '\n'.join(
    f'{chr(ord("A") + i)}. {option}' for i, option in enumerate(options)
  )


def _without_instruction(fields: Fields) -> str:
  """A question that brings its own last words, without them."""
  return fields['question'].strip().replace(' Please answer yes or no.', '')


def _is_text(value: Any) -> bool:
  """False for None, a NaN and the text nan, by which MMBench says nothing."""
  return value is not None and value == value and value != 'nan'


# Images ----------------------------------------------------------------------


def one_image(fields: Fields) -> list[Any]:
  """The image of most questions."""
  return [fields['image']]


def image_list(fields: Fields) -> list[Any]:
  """The column holds several images (SeedBench)."""
  return fields['image']


def mmmu_images(fields: Fields) -> list[Any]:
  """Those that the prompt speaks of, by number."""
  numbers = sorted(set(re.findall(r'<image (\d+)>', mmmu(fields))))
  return [fields[f'image_{number}'] for number in numbers]

"""How benchmarks grade: from an answer and what is right to a score, 0 to 1.

What is right is given as the columns that a record names in `gold`; the rules
themselves are in `scores` and `choices`.
"""

import ast
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from visor_jax.benchmarks import choices
from visor_jax.benchmarks import prompts
from visor_jax.benchmarks import scores

# (answer, {column: value}) -> 0 to 1.
Grader = Callable[[str, Mapping[str, Any]], float]


def by_text(score: scores.Score) -> Grader:
  """A score against the text in the column `answer`."""

  def grade(answer: str, gold: Mapping[str, Any]) -> float:
    return score(answer, gold['answer'])

  return grade


def by_numbered_letter(score: scores.Score) -> Grader:
  """A score against a letter, whose number is in the column `answer`."""

  def grade(answer: str, gold: Mapping[str, Any]) -> float:
    return score(answer, chr(ord('A') + int(gold['answer'])))

  return grade


def anls(answer: str, gold: Mapping[str, Any]) -> float:
  """Against several texts (DocVQA, InfoVQA)."""
  return scores.anls_of_any(answer, gold['answers'])


def vqa(answer: str, gold: Mapping[str, Any]) -> float:
  """Against the answers of ten people (TextVQA)."""
  return scores.vqa(answer, gold['answers'])


def ocrbench(answer: str, gold: Mapping[str, Any]) -> float:
  """Against a text or several, formulas among them."""
  texts = gold['answer']
  if isinstance(texts, str):
    texts = [texts]
  return scores.contains(answer, texts, formula=gold['dataset'] == 'HME100k')


def mmstar(answer: str, gold: Mapping[str, Any]) -> float:
  """Against a letter, however it is written."""
  return float(choices.letter(answer) == gold['answer'].strip().upper())


def mmbench(answer: str, gold: Mapping[str, Any]) -> float:
  """Against a letter, which may be given by its option's text."""
  # None is no option; the text nan is one, and a banana holds it.
  texts = {
    letter: gold[letter] for letter in 'ABCD' if gold[letter] is not None
  }
  return float(choices.named_option(answer.strip(), texts) == gold['answer'])


def mmmu(answer: str, gold: Mapping[str, Any]) -> float:
  """Against a letter; without options, against words and numbers."""
  if not prompts.is_multiple_choice(gold):
    return choices.open_answer(answer, gold['answer'])
  options = ast.literal_eval(gold['options'])
  letter = choices.letter_or_draw(answer, options, gold['id'])
  return float(letter == gold['answer'])

"""The built-in suite of a run, opened again: its test, question by question."""

import dataclasses
import pathlib
from typing import Any

import ml_collections

from visor_jax.benchmarks import scores
from visor_jax.checkpoint import run
from visor_jax.data.suites import drawn
from visor_jax.data.suites import processor
from visor_jax.data.suites import table as suites
from visor_jax.runtime import param_paths

_TALL = 256  # pixels of a picture that a person looks at, at least
_VERDICTS = {0.0: 'wrong', 1.0: 'right'}


@dataclasses.dataclass(frozen=True, eq=False)
class Test:
  """A question with its right answer.

  Attributes:
    question: text.
    gold: the right answer.
    picture: that it is about, a PNG file.
    score: how an answer is graded.
  """

  question: str
  gold: str
  picture: bytes
  score: scores.Score

  def grade(self, answer: str) -> dict[str, Any]:
    """What can be said of an answer, by name."""
    score = self.score(answer, self.gold)
    return dict(
      question=self.question,
      gold=self.gold,
      score=score,
      verdict=_VERDICTS.get(score, f'of score {score:.2f}'),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class BuiltIn:
  """What a run has learned from, and is graded by."""

  suite: drawn.Suite
  score: scores.Score

  def test(self, index: int) -> Test:
    """A question of the test.

    Raises:
      ValueError: there is none of this number.
    """
    if index < 0:
      raise ValueError(f'test question {index}: they are numbered from 0 on')
    example = self.suite.question('test', index)
    (turn,), tiles = example.turns, example.images
    times = -(-_TALL // processor.of_suite(self.suite).size[0])
    picture = processor.png(tiles, times)
    return Test(turn.question, turn.answer, picture, self.score)


def of_run(folder: pathlib.Path | str) -> BuiltIn:
  """The suite of a run.

  Raises:
    ValueError: it is no run, or has learned from sources.
  """
  if not run.is_run(folder):
    raise ValueError(f'{folder} is not the workdir of a run')
  flat = {
    key.replace('.', '/'): value for key, value in run.config(folder).items()
  }
  config = ml_collections.ConfigDict(param_paths.unflatten(flat))
  try:
    suite = suites.built_in(config)
  except ValueError as e:
    raise ValueError(f'{folder}: {e}') from None
  return BuiltIn(suite, scores.named(config.eval.score))

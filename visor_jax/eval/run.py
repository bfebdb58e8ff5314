"""Answers of a model to a stream of questions, written as they come.

A chunk of questions is a file; one that is there is not asked again, so a run
that was cut off goes on where it was. Of several processes each prepares and
scores the questions whose rows it holds, and all know all answers.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import json
import pathlib
import sys
from typing import Any

import jax
from jax.sharding import Mesh
import ml_collections
import numpy as np

from visor_jax.benchmarks import scores
from visor_jax.data import fits
from visor_jax.data import protocols
from visor_jax.data.sources import records
from visor_jax.eval import costs
from visor_jax.eval import generate
from visor_jax.eval import questions as questions_lib
from visor_jax.eval import sampling as sampling_lib
from visor_jax.models import visor
from visor_jax.runtime import checksums
from visor_jax.runtime import claim
from visor_jax.runtime import cluster
from visor_jax.runtime import console
from visor_jax.runtime import errors
from visor_jax.runtime import paths
from visor_jax.runtime import preempt
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import budget
from visor_jax.spec import plan as plans

Answer = dict[str, Any]  # a question with what became of it, see `answers`
Score = Callable[[str, str], float]  # (answer, right answer) -> 0 to 1


@dataclasses.dataclass(frozen=True, eq=False)
class ModelUnderTest:
  """What is asked.

  Attributes:
    model: the network.
    params: its parameters, nested.
    mesh: that they lie on.
    suite: where questions come from.
    viable: plans that the router chooses from, by cost.
    confidence: of its choice, see models.router.choose.
  """

  model: visor.Visor
  params: generate.Params
  mesh: Mesh
  suite: protocols.Suite
  viable: tuple[plans.Plan, ...] = ()
  confidence: budget.Confidence = None

  def shard(self, questions: questions_lib.Questions) -> batch_lib.Batch:
    """Questions on the mesh, in as few slots as they need."""
    patches = self.model.size.vision.patches
    return questions_lib.shard(questions, patches, self.mesh)


@dataclasses.dataclass(frozen=True)
class _Asked:
  """A question that waits for its answer, and how long its prompt is."""

  id: str
  turn: records.Turn
  size: costs.PromptSize


def answers(
  under_test: ModelUnderTest,
  stream: str,
  count: int,
  selection: plans.Selection,
  folder: pathlib.Path | str,
  options: ml_collections.ConfigDict,
  score: str | Score,
) -> list[Answer]:
  """Asks those of the first `count` questions of a stream that can be asked.

  Args:
    under_test: who answers.
    stream: of the suite.
    count: questions, not all of which can be asked: see data.fits.
    selection: which plan, or who chooses it.
    folder: where the answers are kept.
    options: the config's `eval`, for `batch` and `chunk`.
    score: a name in scores.SCORES, or a function.

  Returns:
    A row per question, in order: index, id of its record, family, question,
    gold, answer, score, plan (list of 0/1, None for the base), and what it
    took, see costs.of_answer.

  Raises:
    SystemExit: it was told to leave; the chunks that are done are kept.
  """
  rows: list[Answer] = []
  reduction = str(under_test.model.reduction)
  fit = under_test.suite.original.fit(stream, count)  # of all methods alike
  progress = console.Progress(
    f'{stream} questions, plan {selection}'
    + (f', {reduction}' if reduction else ''),
    len(fit.numbers),
  )
  chunks = _chunks(fit, options.chunk, paths.parse(folder) / str(selection))
  # All must skip the same ones; only process 0 looks, because a host that looks
  # too early may see a file too late.
  complete, *_ = cluster.allgather_json(
    [chunk.is_complete() for chunk in chunks] if cluster.is_primary() else []
  )
  for chunk, is_complete in zip(chunks, complete):
    if preempt.requested():
      console.log(
        f'{stream} questions: {preempt.reason()}; the same command goes on '
        f'from question {chunk.numbers[0]}'
      )
      sys.exit(preempt.EXIT_CODE)
    if is_complete:
      part = chunk.read()
    else:
      part = _ask(
        under_test, stream, chunk.numbers, selection, options.batch, score
      )
      claim.write_shared(
        chunk.path, ''.join(json.dumps(row) + '\n' for row in part)
      )
    rows += part
    progress.line(
      len(rows), score=float(np.mean([row['score'] for row in rows]))
    )
  return rows


@dataclasses.dataclass(frozen=True)
class _Chunk:
  """Questions whose answers are kept in one file.

  Attributes:
    numbers: of the questions, in order.
    path: of the file.
  """

  numbers: tuple[int, ...]
  path: pathlib.Path

  def is_complete(self) -> bool:
    """The file holds the answers to these questions, and to no others."""
    return checksums.intact(self.path, self.read) is not None

  def read(self) -> list[Answer]:
    """The answers in the file.

    Raises:
      ValueError: they are not those to these questions, each once and in order.
    """
    rows = []
    for location, row in checksums.read_rows(self.path):
      score = row.get('score')
      if not isinstance(score, int | float) or not 0 <= score <= 1:
        raise ValueError(f'{location}: "score" is {score!r}, expected 0 to 1')
      rows.append(row)
    if [row.get('index') for row in rows] != list(self.numbers):
      raise ValueError(
        f'{self.path} lacks answers to questions {self.numbers[0]} to '
        f'{self.numbers[-1]}, or has others'
      )
    return rows


def _chunks(fit: fits.Fit, size: int, folder: pathlib.Path) -> list[_Chunk]:
  """So many questions each, less those that cannot be asked."""
  chunks = []
  for start in range(0, fit.count, size):
    stop = min(start + size, fit.count)
    numbers = tuple(n for n in fit.numbers if start <= n < stop)
    if numbers:
      chunks.append(_Chunk(numbers, folder / f'{start}-{stop}.jsonl'))
  return chunks


def _ask(
  under_test: ModelUnderTest,
  stream: str,
  numbers: Sequence[int],
  selection: plans.Selection,
  size: int,
  score: str | Score,
) -> list[Answer]:
  """Asks some questions, `size` at a time."""
  suite = under_test.suite
  grade = scores.named(score) if isinstance(score, str) else score
  asked: dict[int, _Asked] = {}  # by this process

  def batches() -> Iterator[tuple[generate.Ids, batch_lib.Batch]]:
    for questions in questions_lib.batches(
      suite, stream, numbers, size, under_test.mesh
    ):
      asked.update(_lengths(questions, under_test.model))
      yield questions.ids, under_test.shard(questions)

  answered = {}
  routing = int(selection.selector == 'router')
  sampling = sampling_lib.Sampling(
    suite.answer_tokens, suite.ends, rules=suite.rules
  )
  for ids, plan, tokens in generate.answers(
    under_test.model,
    under_test.params,
    batches(),
    selection,
    sampling,
    jax.random.key(0),
    under_test.viable,
    under_test.confidence,
  ):
    for number, answer_tokens in zip(ids, tokens):
      if number not in asked:  # another process did
        continue
      question = asked[number]
      answer = suite.decode(answer_tokens)
      answered[number] = dict(
        index=number,
        id=question.id,
        family=question.turn.family,
        question=question.turn.question,
        gold=question.turn.answer,
        answer=answer,
        score=grade(answer, question.turn.answer),
        plan=None if plan is None else [int(on) for on in plan],
        **costs.of_answer(
          under_test.model,
          plan,
          question.size,
          costs.answer_length(answer_tokens, sampling.ends),
          routing,
        ),
      )
  by_number = {
    row['index']: row
    for part in cluster.allgather_json([*answered.values()])
    for row in part
  }
  return [by_number[number] for number in numbers]


def _lengths(
  questions: questions_lib.Questions, model: visor.Visor
) -> dict[int, _Asked]:
  """The questions that this process asks, with their lengths."""
  batch = questions.batch
  sizes = zip(
    batch.visual().tolist(),
    batch.text().tolist(),
    batch.images(model.size.vision.patches),
    _originals(questions, model.architecture.size.vision.patches),
  )
  asked = {
    number: _Asked(record.id, record.turns[0], costs.PromptSize(*size))
    for number, record, size in zip(
      questions.local_ids, questions.records, sizes
    )
    if number is not None
  }
  for one in asked.values():
    _require_visual(model, one)
  return asked


def _require_visual(model: visor.Visor, asked: _Asked) -> None:
  """Raises a Refusal where a token reduction leaves nothing of an image."""
  size = asked.size
  try:
    costs.prefill_flops(
      model.architecture, None, size.visual, size.text, tiles=sum(size.images)
    )
  except ValueError as e:
    raise errors.Refusal(f'question {asked.id}: {e}') from None


def _originals(
  questions: questions_lib.Questions, patches: int
) -> Sequence[costs.Images | None]:
  """What images were that have been made smaller, of each question."""
  batch = questions.original
  if batch is None:
    return [None] * len(questions.records)
  return [
    costs.Images(visual, tiles)
    for visual, tiles in zip(batch.visual().tolist(), batch.images(patches))
  ]

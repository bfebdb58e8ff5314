"""Answers of a model to a stream of questions, written as they come.

A chunk of questions is a file; one that is there is not asked again, so a run
that was cut off goes on where it was. Of several processes each prepares and
scores the questions whose rows it holds, and all know all answers.
"""

import dataclasses
import json
import pathlib
import sys
from typing import Any

import jax
import numpy as np

from visor_jax.benchmarks import scores
from visor_jax.data import protocols
from visor_jax.data.processing import packing
from visor_jax.eval import generate
from visor_jax.runtime import claim
from visor_jax.runtime import cluster
from visor_jax.runtime import console
from visor_jax.runtime import files
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import preempt
from visor_jax.spec import budget
from visor_jax.spec import plan as plans


@dataclasses.dataclass(frozen=True, eq=False)
class ModelUnderTest:
  """What is asked.

  Attributes:
    model: a models.visor.Visor.
    params: nested.
    mesh: that they lie on.
    suite: where questions come from.
    viable: plans, by cost.
    confidence: of the router's choice, see models.router.choose.
  """

  model: Any
  params: Any
  mesh: Any
  suite: protocols.Suite
  viable: tuple[plans.Plan, ...] = ()
  confidence: float | budget.Mix | None = None


LENGTHS = 64  # questions that `lengths` looks at


def lengths(suite, stream: str, count: int) -> tuple[int, int]:
  """Mean visual and text tokens of the first of `count` questions."""
  batch = packing.stack(
    [suite.prompt(stream, i)[0] for i in range(min(LENGTHS, count))]
  )
  return round(batch.visual().mean()), round(batch.text().mean())


def shard_prompts(subject: ModelUnderTest, host):
  """A Batch on the mesh, in a half, quarter or eighth of its slots if it can.

  All processes halve alike; no answer depends on it.
  """
  patches = subject.model.size.vision.patches
  times = min(cluster.allgather_json(packing.halvings(host, patches)))
  return mesh_lib.shard_batch(
    packing.halved(host, times, patches), subject.mesh
  )


def answers(
  subject: ModelUnderTest,
  stream: str,
  count: int,
  selection: plans.Selection,
  folder,
  config,
  score,
) -> list[dict]:
  """Asks the first `count` questions of a stream.

  Args:
    subject: who answers.
    stream: of the suite.
    count: questions.
    selection: which plan, or who chooses it.
    folder: where the answers are kept.
    config: the config's `eval`, for `batch` and `chunk`.
    score: a name in scores.SCORES, or a function (answer, gold) -> 0 to 1.

  Returns:
    A row per question, in order: index, family, question, gold, answer, score,
    plan (list of 0/1, None for the base), and what it took, see
    generate.costs.

  Raises:
    SystemExit: SIGTERM came; the chunks that are done are kept.
  """
  rows = []
  reduced = subject.model.reduction
  progress = console.Progress(
    f'{stream} questions, plan {selection}'
    + (f', {reduced}' if reduced else ''),
    count,
  )
  chunks = [
    (start, min(start + config.chunk, count))
    for start in range(0, count, config.chunk)
  ]
  path = lambda start, stop: (
    pathlib.Path(folder) / str(selection) / f'{start}-{stop}.jsonl'
  )
  # All must skip the same ones; only process 0 looks, because a host that looks
  # too early may see a file too late.
  there, *_ = cluster.allgather_json(
    cluster.is_primary() and [path(*chunk).exists() for chunk in chunks]
  )
  for (start, stop), known in zip(chunks, there):
    if preempt.requested():
      console.log(
        f'{stream} questions: SIGTERM; the same command goes on from '
        f'question {start}'
      )
      sys.exit(preempt.EXIT_CODE)
    if known:
      part = files.read_jsonl(path(start, stop))
    else:
      part = _chunk(
        subject, stream, start, stop, selection, config.batch, score
      )
      claim.write_shared(
        path(start, stop), ''.join(json.dumps(r) + '\n' for r in part)
      )
    rows += part
    progress.line(stop, score=float(np.mean([r['score'] for r in rows])))
  return rows


def _chunk(subject, stream, start, stop, selection, size, score):
  """Answers questions start..stop, `size` at a time."""
  suite, asked = subject.suite, {}
  grade = scores.named(score) if isinstance(score, str) else score
  own = mesh_lib.local_rows(size, subject.mesh)

  def batches():
    for first in range(start, stop, size):
      # The last batch is filled up with repeats that nobody reads.
      made = [suite.prompt(stream, min(first + i, stop - 1)) for i in own]
      host = packing.stack([row for row, _ in made])
      ids = [i if i < stop else None for i in range(first, first + size)]
      asked.update(
        zip(
          (ids[i] for i in own),
          zip(
            (record.turns[0] for _, record in made),
            host.visual().tolist(),
            host.text().tolist(),
            host.used(subject.model.size.vision.patches).tolist(),
          ),
        )
      )
      yield ids, shard_prompts(subject, host)

  rows = {}
  routing = int(selection.selector == 'router')
  sampling = generate.Sampling(suite.answer_tokens, suite.ends)
  for ids, plan, tokens in generate.answers(
    subject.model,
    subject.params,
    batches(),
    selection,
    sampling,
    jax.random.key(0),
    subject.viable,
    subject.confidence,
  ):
    for i, said in zip(ids, tokens):
      if i not in asked:  # another process did
        continue
      turn, visual, text, tiles = asked[i]
      answer = suite.decode(said)
      rows[i] = dict(
        index=i,
        family=turn.family,
        question=turn.question,
        gold=turn.answer,
        answer=answer,
        score=grade(answer, turn.answer),
        plan=None if plan is None else [int(on) for on in plan],
        **generate.costs(
          subject.model,
          plan,
          visual,
          text,
          tiles,
          generate.count(said, sampling.ends),
          routing,
        ),
      )
  rows = {
    r['index']: r
    for part in cluster.allgather_json([*rows.values()])
    for r in part
  }
  return [rows[i] for i in range(start, stop)]

"""Answers of a model to a stream of questions, written as they come.

A chunk of questions is a file; one that is there is not asked again, so a run
that was cut off goes on where it was.
"""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from visor_jax import flops
from visor_jax import log
from visor_jax import mesh as mesh_lib
from visor_jax import plan as plans
from visor_jax.data import loader
from visor_jax.data import packing
from visor_jax.eval import generate
from visor_jax.eval import scores
from visor_jax.models import router


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
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
  suite: Any
  viable: tuple[plans.Plan, ...] = ()
  confidence: float | None = None

  def prefill(self, plan, visual: int, text: int, routing: int = 0) -> int:
    """Nominal LLM prefill FLOPs of one question."""
    return _prefill(self.model, plan, visual, text, routing)


@functools.lru_cache(maxsize=None)
def _prefill(model, plan, visual, text, routing):
  options = model.router_options
  return flops.cost(
      model.size, model.layout, plan, visual, text, routing=routing,
      cross_key_heads=model.cross_options.key_heads,
      router_token=options.token, router_hidden=options.hidden,
      router_plans=options.plans).llm_prefill


def answers(subject: Subject, stream: str, count: int,
            selection: plans.Selection, folder, config,
            score: str) -> list[dict]:
  """Asks the first `count` questions of a stream.

  Args:
    subject: who answers.
    stream: of the suite.
    count: questions.
    selection: which plan, or who chooses it.
    folder: where the answers are kept.
    config: the config's `eval`, for `batch` and `chunk`.
    score: a name in scores.SCORES.

  Returns:
    A row per question, in order: index, family, question, gold, answer, score,
    plan (list of 0/1, None for the base), llm_prefill_flops.
  """
  rows = []
  progress = log.Progress(f'{stream} questions, plan {selection}', count)
  for start in range(0, count, config.chunk):
    stop = min(start + config.chunk, count)
    path = pathlib.Path(folder) / str(selection) / f'{start}-{stop}.jsonl'
    if not path.exists():
      part = []
      for first in range(start, stop, config.batch):
        part += _batch(subject, stream, first, min(first + config.batch, stop),
                       selection, config.batch, score)
      log.write_atomic(path, ''.join(json.dumps(r) + '\n' for r in part))
    rows += log.read_jsonl(path)
    progress.line(stop, score=float(np.mean([r['score'] for r in rows])))
  return rows


def _batch(subject, stream, start, stop, selection, size, score):
  """Answers questions start..stop; a batch is filled up with repeats."""
  numbers = [min(i, stop - 1) for i in range(start, start + size)]
  made = [loader.question(subject.suite, stream, i) for i in numbers]
  host = packing.stack([row for row, _ in made])
  batch = mesh_lib.place(host, subject.mesh)
  tokens, chosen = _tokens(subject, batch, selection)
  routing = int(selection.selector == 'router')
  visual = (host.visual_segment > 0).sum(axis=1)
  text = (host.text_segment > 0).sum(axis=1) - subject.suite.answer_tokens
  rows = []
  for i, (_, record) in enumerate(made[:stop - start]):
    turn = record.turns[0]
    answer = subject.suite.words.decode(tokens[i])
    rows.append(dict(
        index=start + i, family=turn.family, question=turn.question,
        gold=turn.answer, answer=answer,
        score=scores.SCORES[score](answer, turn.answer),
        plan=None if chosen[i] is None else [int(on) for on in chosen[i]],
        llm_prefill_flops=subject.prefill(
            chosen[i], int(visual[i]), int(text[i]), routing)))
  return rows


def _tokens(subject, batch, selection):
  """Generated tokens, int [B, answer_tokens], and the plan of each row."""
  count = subject.suite.answer_tokens
  b = batch.tokens.shape[0]
  if selection.selector != 'router':
    bits = None if selection.plan is None else jnp.asarray(selection.plan)
    made = generate.generate(subject.model, subject.params, batch, bits, count)
    return np.asarray(made), [selection.plan] * b
  found, stream = generate.route(subject.model, subject.params, batch)
  number = np.asarray(
      router.choose(found, len(subject.viable), subject.confidence))
  tokens = np.zeros((b, count), np.int32)
  for n in np.unique(number):
    which = np.flatnonzero(number == n)
    # A group is filled up to a power of two: few shapes, few programs.
    ways = mesh_lib.row_ways(subject.mesh)
    room = min(b, ways * max(8, 1 << (len(which) - 1).bit_length()))
    some = jax.tree.map(lambda x: x[np.resize(which, room)], (stream, batch))
    made = generate.resume(subject.model, subject.params, *some,
                           jnp.asarray(subject.viable[n]), count)
    tokens[which] = np.asarray(made)[:len(which)]
  return tokens, [subject.viable[n] for n in number]

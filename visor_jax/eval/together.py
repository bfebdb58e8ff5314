"""Questions about images that have been read, answered together.

Rows of a batch have one shape and are asked in one way; of their images the
tower's part is known. A question alone goes on from all that its Reading knows.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from visor_jax.eval import answer as answer_lib
from visor_jax.eval import asked as asked_lib
from visor_jax.eval import costs
from visor_jax.eval import generate
from visor_jax.eval import plan_groups
from visor_jax.eval import reading as reading_lib
from visor_jax.eval import sampling as sampling_lib
from visor_jax.models import caches as caches_lib
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import budget as budget_lib
from visor_jax.spec import plan as plans


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
  """A question about images that have been read.

  Attributes:
    reading: of its images.
    prompt: of `Reading.prompt`.
    selection: under which plan, or who chooses it.
    sampling: how tokens are drawn.
    key: of the draw.
  """

  reading: reading_lib.Reading
  prompt: reading_lib.Prompt
  selection: plans.Selection
  sampling: sampling_lib.Sampling
  key: jax.Array

  @property
  def group(self) -> tuple:
    """Questions of which it is the same can share a batch.

    What is drawn depends on a row's place, so such a question stands alone.
    """
    shapes = tuple(x.shape for x in self.prompt.packed.batch.fields().values())
    alone = self if self.sampling.temperature else None
    return self.selection, self.sampling, shapes, alone


def question(
  checkpoint: asked_lib.Checkpoint,
  reading: reading_lib.Reading,
  text: str,
  options: answer_lib.Options,
) -> Question:
  """A question, with room for its answer.

  There is room for more tokens than are asked for, so that few programs serve
  all questions; whoever asks stops when there are enough.

  Args:
    checkpoint: who answers.
    reading: of the images.
    text: with an <image> marker for every image or with none.
    options: of `Reading.ask`.

  Raises:
    ValueError: naming what cannot be: a plan, a question, its length.
  """
  tokenizer = checkpoint.processor.tokenizer
  sampling, key = answer_lib.sampling(tokenizer, options)
  prompt = reading.prompt(text, options, sampling.tokens)
  if not sampling.rules.forced_eos_token_id:  # which is of the last token
    room = checkpoint.context - sum(prompt.lengths)
    tokens = max(16, 1 << (sampling.tokens - 1).bit_length())
    sampling = dataclasses.replace(sampling, tokens=min(tokens, room))
  selection = checkpoint.choice.select(options, prompt.size)
  return Question(reading, prompt, selection, sampling, key)


class Prefilled(NamedTuple):
  """Questions that one plan answers, read.

  Attributes:
    numbers: of the questions, in the first rows.
    plan: None for the base.
    batch: their rows.
    prompt: what the layers keep of them.
    ran: what was computed for each.
  """

  numbers: list[int]
  plan: plans.Plan | None
  batch: batch_lib.Batch
  prompt: generate.Prompt
  ran: list[costs.Ran]


def prefill(
  checkpoint: asked_lib.Checkpoint, questions: Sequence[Question], rows: int
) -> Iterator[Prefilled]:
  """Reads questions of one group; the router may part them.

  Args:
    checkpoint: who answers.
    questions: of one `Question.group`.
    rows: of their batch, if they are several; those to spare are filled up.
  """
  first = questions[0]
  if len(questions) == 1:
    prompt, plan, ran = first.reading.prefill(first.prompt, first.selection)
    yield Prefilled([0], plan, first.prompt.packed.batch, prompt, [ran])
    return
  filled = [*questions, *[first] * (rows - len(questions))]
  batch, patches = _join(
    [(x.prompt.packed.batch, x.reading.patches) for x in filled]
  )
  model, params = checkpoint.model, checkpoint.params
  images = caches_lib.ReadImages(patches)
  routing = int(first.selection.selector == 'router')

  def prefilled(
    numbers: list[int],
    plan: plans.Plan | None,
    batch: batch_lib.Batch,
    prompt: generate.Prompt,
  ) -> Prefilled:
    asked = [questions[number] for number in numbers]
    ran = [x.reading.ran(x.prompt, plan, (), routing) for x in asked]
    return Prefilled(numbers, plan, batch, prompt, ran)

  if not routing:
    plan = first.selection.plan
    prompt = generate.prefill(model, params, batch, plan, images)
    yield prefilled([*range(len(questions))], plan, batch, prompt)
    return
  facts = checkpoint.choice.facts
  ids = [*range(len(questions)), *[None] * (rows - len(questions))]
  for numbers, (routed, part), plan in plan_groups.grouped(
    functools.partial(generate.route, model, params, images=images),
    [(ids, batch)],
    facts.viable,
    budget_lib.confidence(first.selection, facts.curve, facts.confidence),
    model.size.vision.patches,
  ):
    prompt = generate.resume(model, params, routed, part, plan)
    asked = [number for number in numbers if number is not None]
    yield prefilled(asked, plan, part, prompt)


def grow(
  checkpoint: asked_lib.Checkpoint, question: Question, read: Prefilled
) -> Iterator[np.ndarray]:
  """Answers as they grow, int32 [B, tokens], see generate.grow.

  Args:
    checkpoint: who answers.
    question: any of them.
    read: all of them.
  """
  return generate.grow(
    checkpoint.model,
    checkpoint.params,
    read.batch,
    read.prompt,
    read.plan,
    question.sampling,
    question.key,
    reading_lib.CHUNK,
  )


@jax.jit
def _join(parts: Sequence) -> tuple:
  """Batches of one row, and what the tower says of each, as one."""
  return jax.tree.map(lambda *x: jnp.concatenate(x), *parts)

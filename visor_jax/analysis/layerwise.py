"""What flows through a model, seen layer by layer; and the questions it reads.

Nothing is built into the model for it: `Llm.run` runs any stretch of layers,
so one at a time as well.
"""

import numpy as np

from visor_jax.data.processing import packing
from visor_jax.eval import run
from visor_jax.models import token_layout
from visor_jax.models import visor
from visor_jax.runtime import console
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans

STREAM = 'test'


def layout(model: visor.Visor, plan: plans.Plan | None) -> plans.Layout:
  """The kinds of the layers under a plan, None for the base."""
  if plan is None:
    return plans.base(model.size.language.depth)
  return model.layout.fix(plan)


def hidden_states_by_layer(
  model: visor.Visor, batch: batch_lib.Batch, kinds: plans.Layout
):
  """Yields (layer, llm.Stream that flows into it, geometry.Rows).

  The last layer is followed by one that is not there, and what flows out. To
  be used in a method of the model.

  Args:
    model: bound to its parameters.
    batch: a Batch.
    kinds: of the layers, none optional.
  """
  rows, stream = token_layout.from_batch(batch), model.embed(batch)
  depth = model.size.language.depth
  for layer in range(depth):
    yield layer, stream, rows
    stream = model.llm.run(stream, rows, kinds, None, layer, layer + 1)
  yield depth, stream, rows


def questions(subject: run.ModelUnderTest, count: int, size: int, what: str):
  """The first test questions, `size` at a time, and how far it is.

  Args:
    subject: whose suite asks.
    count: questions.
    size: of a batch.
    what: is being done, for the progress.

  Yields:
    (families, Batch in numpy); the last batch is filled up with repeats that
    have no family.
  """
  progress = console.Progress(what, count)
  for start in range(0, count, size):
    made = [
      subject.suite.prompt(STREAM, min(start + i, count - 1))
      for i in range(size)
    ]
    families = [record.turns[0].family for _, record in made]
    yield families[: count - start], packing.stack([row for row, _ in made])
    progress.line(min(start + size, count))


def means(rows, families, group) -> tuple[dict, dict]:
  """Sums of questions to means, of families and of groups.

  Args:
    rows: an array for each question; what is not finite does not count.
    families: of the questions.
    group: family -> its group.

  Returns:
    {family or group: mean array, nan where nothing counts}; {family: n}.
  """
  rows, families = np.asarray(rows, float), np.asarray(families)
  groups = np.asarray([group(f) for f in families])
  found = {}
  for names in (families, groups):
    for name in sorted(set(names.tolist())):
      some = rows[names == name]
      counts = np.isfinite(some)
      found[name] = np.where(counts, some, 0).sum(0) / np.where(
        counts.any(0), counts.sum(0), np.nan
      )
  return found, {
    f: int((families == f).sum()) for f in sorted(set(families.tolist()))
  }


def plain(x):
  """Arrays to lists of rounded numbers; what is not finite to None."""
  if isinstance(x, dict):
    return {k: plain(v) for k, v in x.items()}
  if isinstance(x, (list, tuple)):
    return [plain(v) for v in x]
  if isinstance(x, np.ndarray):
    return plain(x.tolist())
  if isinstance(x, float):
    return round(x, 6) if np.isfinite(x) else None
  return x

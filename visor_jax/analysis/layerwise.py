"""What flows through a model, seen layer by layer; and the questions it reads.

Nothing is built into the model for it: `Decoder.run` runs any stretch of
layers, so one at a time as well.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np

from visor_jax.eval import questions as questions_lib
from visor_jax.eval import run as eval_run
from visor_jax.models import layer_kinds
from visor_jax.models import positions
from visor_jax.models import visor
from visor_jax.runtime import console
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans

STREAM = 'test'


def hidden_states_by_layer(
  model: visor.Visor, batch: batch_lib.Batch, kinds: plans.Layout
) -> Iterator[tuple[int, layer_kinds.HiddenStates, positions.TokenLayout]]:
  """Yields every layer with what flows into it, and where the tokens stand.

  The last layer is followed by one that is not there, and what flows out. To
  be used in a method of the model.

  Args:
    model: bound to its parameters.
    batch: prompts.
    kinds: of the layers, none optional.
  """
  language, hidden = model.size.language, model.embed(batch)
  token_layout, depth = (
    positions.token_layout(batch, language.axes),
    language.depth,
  )
  for layer in range(depth):
    yield layer, hidden, token_layout
    span = range(layer, layer + 1)
    hidden = model.llm.run(hidden, token_layout, kinds, span=span)
  yield depth, hidden, token_layout


def questions(
  under_test: eval_run.ModelUnderTest, count: int, size: int, title: str
) -> Iterator[tuple[list[str], batch_lib.Batch]]:
  """The first test questions, `size` at a time, and how far it is.

  Args:
    under_test: whose suite asks.
    count: questions.
    size: of a batch.
    title: what is being done, for the progress.

  Yields:
    Families of the questions, and a Batch in numpy; the last one is filled up
    with repeats that have no family.
  """
  numbers = under_test.suite.fit(STREAM, count).numbers
  progress = console.Progress(title, len(numbers))
  done = 0
  for asked in questions_lib.batches(
    under_test.suite, STREAM, numbers, size, under_test.mesh
  ):
    families = [
      record.turns[0].family
      for number, record in zip(asked.local_ids, asked.records)
      if number is not None
    ]
    yield families, asked.batch
    done += len(families)
    progress.line(done)


def means(
  values: Sequence[np.ndarray] | np.ndarray,
  families: Sequence[str],
  group: Callable[[str], str],
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
  """From questions to means of families and of groups.

  Args:
    values: an array for each question; what is not finite does not count.
    families: of the questions.
    group: family -> its group.

  Returns:
    {family or group: mean array, nan where nothing counts}; {family: n}.
  """
  stacked, names = np.asarray(values, float), np.asarray(families)
  groups = np.asarray([group(family) for family in families])
  averages = {}
  for labels in (names, groups):
    for label in sorted(set(labels.tolist())):
      part = stacked[labels == label]
      counts = np.isfinite(part)
      averages[label] = np.where(counts, part, 0).sum(0) / np.where(
        counts.any(0), counts.sum(0), np.nan
      )
  return averages, {
    family: int((names == family).sum())
    for family in sorted(set(names.tolist()))
  }


def plain(x: Any) -> Any:
  """Arrays to lists of rounded numbers; what is not finite to None."""
  if isinstance(x, dict):
    return {key: plain(value) for key, value in x.items()}
  if isinstance(x, (list, tuple)):
    return [plain(value) for value in x]
  if isinstance(x, np.ndarray):
    return plain(x.tolist())
  if isinstance(x, float):
    return round(x, 6) if np.isfinite(x) else None
  return x

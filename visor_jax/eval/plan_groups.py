"""Prompts for which the router chose one plan wait for one another."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from visor_jax.models import router
from visor_jax.models import visor
from visor_jax.runtime import cluster
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import budget
from visor_jax.spec import plan as plans

# The numbers of the questions in the rows of a batch; None fills a row up.
Ids = Sequence[int | None]
Rows = tuple[visor.Routed, batch_lib.Batch]
# Router scores [B, plans] of a batch, and what is left of reading it.
Route = Callable[[batch_lib.Batch], tuple[jax.Array, visor.Routed]]

# Bytes of rows that wait, on all devices together, for each of them. Beyond
# that the group that has waited longest goes on with rows to spare.
MAX_BYTES = 4 << 30


def grouped(
  route: Route,
  batches: Iterable[tuple[Ids, batch_lib.Batch]],
  viable: Sequence[plans.Plan],
  confidence: budget.Confidence,
  patches: int,
) -> Iterator[tuple[Ids, Rows, plans.Plan]]:
  """Batches of one plan and shape, of prompts for which the router chose it.

  The last of each is filled up with rows whose id is None.

  Args:
    route: generate.route of a model.
    batches: prompts, all of as many rows.
    viable: plans that the router chooses from, by cost.
    confidence: of its choice, see models.router.choose.
    patches: P of a tile.
  """
  # Plan and shapes -> ids, and rows of which the first are theirs.
  waiting: dict[tuple, tuple[list, Rows]] = {}
  size = 0
  for ids, batch in batches:
    size = len(ids)
    shapes = tuple(
      x.shape for x in (batch.tokens, batch.gather_index, batch.tiles)
    )
    scores, routed = route(batch)
    chosen = choose(scores, batch, viable, confidence, patches)
    asked = [row for row, question in enumerate(ids) if question is not None]
    for number, plan in enumerate(viable):
      new = [row for row in asked if chosen[row] == number]
      if not new:
        continue
      waiting_ids, waiting_rows = waiting.pop(
        (plan, shapes), ([], (routed, batch))
      )
      group = waiting_ids + [ids[row] for row in new]
      # In the rows that wait and these, one behind the other.
      indices = [*range(len(waiting_ids)), *(size + row for row in new)]
      for first in range(0, len(group), size):
        part = group[first : first + size]
        rows = _take_rows(
          waiting_rows,
          (routed, batch),
          np.resize(indices[first : first + size], size),
        )
        if len(part) == size:
          yield part, rows, plan
        else:
          waiting[plan, shapes] = part, rows
    while _bytes(waiting.values()) > MAX_BYTES * jax.device_count():
      yield _pop_first(waiting, size)
  while waiting:
    yield _pop_first(waiting, size)


def choose(
  scores: jax.Array,
  batch: batch_lib.Batch,
  viable: Sequence[plans.Plan],
  confidence: budget.Confidence,
  patches: int,
) -> np.ndarray:
  """int [B], the numbers of plans; of all rows, in every process.

  Args:
    scores: of the router, [B, plans].
    batch: of the prompts.
    viable: plans that the router chooses from, by cost.
    confidence: of its choice, see models.router.choose.
    patches: P of a tile.
  """
  hashes = None
  if isinstance(confidence, budget.Mix):
    hashes = _question_hash(batch, patches)
  # Groups are formed of the choices of all, or processes would part ways.
  return cluster.to_host(router.choose(scores, len(viable), confidence, hashes))


def _pop_first(
  waiting: dict[tuple, tuple[list, Rows]], size: int
) -> tuple[Ids, Rows, plans.Plan]:
  """The group that has waited longest for another row, filled up."""
  plan, shapes = next(iter(waiting))
  ids, rows = waiting.pop((plan, shapes))
  return ids + [None] * (size - len(ids)), rows, plan


def _bytes(groups: Iterable[tuple[list, Rows]]) -> int:
  return sum(
    x.size * x.dtype.itemsize
    for _, rows in groups
    for x in jax.tree.leaves(rows)
  )


_question_hash = jax.jit(router.question_hash, static_argnames='patches')


@jax.jit
def _take_rows(first: Rows, second: Rows, index: jax.Array) -> Rows:
  """The rows `index` of two batches, one behind the other."""

  def take(axis: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    return lambda a, b: jnp.take(jnp.concatenate([a, b], axis), index, axis)

  (routed, batch), (other, other_batch) = first, second
  hidden = jax.tree.map(take(0), routed.hidden, other.hidden)
  layout = jax.tree.map(take(0), routed.token_layout, other.token_layout)
  # [count, B, ...]
  caches = jax.tree.map(take(1), routed.caches, other.caches)
  both = jax.tree.map(take(0), batch, other_batch)
  return visor.Routed(hidden, layout, caches), both

"""Questions of a suite in batches: each alone in its row, as it is asked."""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses

from jax.sharding import Mesh

from visor_jax.data import protocols
from visor_jax.data.processing import packing
from visor_jax.runtime import cluster
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import batch as batch_lib

SAMPLED = 64  # questions that `sampled` reads


@dataclasses.dataclass(frozen=True, eq=False)
class Questions:
  """A batch of questions; of several processes, what this one holds of it.

  Attributes:
    ids: the number of the question in each row of the global batch; None in
      rows that repeat one to fill the batch up.
    local_ids: likewise, of the rows that this process holds.
    records: of the rows that this process holds.
    batch: these rows, in numpy.
    original: with images as they are, where the suite makes them smaller.
  """

  ids: list[int | None]
  local_ids: list[int | None]
  records: list[protocols.Record]
  batch: batch_lib.Batch
  original: batch_lib.Batch | None = None


def batches(
  suite: protocols.Suite,
  stream: str,
  numbers: Sequence[int],
  size: int,
  mesh: Mesh,
) -> Iterator[Questions]:
  """Questions of a stream, so many rows at a time; the last one is filled up.

  Args:
    suite: where they come from.
    stream: of the suite.
    numbers: of the questions, in order.
    size: rows of a global batch.
    mesh: whose processes share the rows.

  Raises:
    ValueError: one of them cannot be asked.
  """
  local_rows = mesh_lib.local_rows(size, mesh)
  for start in range(0, len(numbers), size):
    asked = list(numbers[start : start + size])
    repeats = size - len(asked)
    ids = [*asked, *[None] * repeats]
    filled = [*asked, *asked[-1:] * repeats]
    numbers_here = [filled[row] for row in local_rows]
    prompts = [suite.prompt(stream, number) for number in numbers_here]
    originals = [
      suite.original.prompt(stream, number)[0]
      for number in numbers_here
      if suite.original is not suite
    ]
    yield Questions(
      ids=ids,
      local_ids=[ids[row] for row in local_rows],
      records=[record for _, record in prompts],
      batch=packing.stack([row for row, _ in prompts]),
      original=packing.stack(originals) if originals else None,
    )


def shard(questions: Questions, patches: int, mesh: Mesh) -> batch_lib.Batch:
  """The rows on the mesh, in a half, quarter or eighth of their slots if so.

  All processes halve alike; no answer depends on it.

  Args:
    questions: what this process holds.
    patches: P of a tile.
    mesh: devices to spread them over.
  """
  halvings = packing.halvings(questions.batch, patches)
  times = min(cluster.allgather_json(halvings))
  return mesh_lib.shard_batch(
    packing.halved(questions.batch, times, patches), mesh
  )


def mean_lengths(
  suite: protocols.Suite, stream: str, count: int
) -> tuple[int, int]:
  """Mean visual and text tokens of the first of `count` questions."""
  batch = sampled(suite, stream, count)
  return round(batch.visual().mean()), round(batch.text().mean())


def sampled(suite: protocols.Suite, stream: str, count: int) -> batch_lib.Batch:
  """The first of `count` questions, for what is reckoned before any is asked.

  Raises:
    ValueError: one of them cannot be asked.
  """
  numbers = suite.fit(stream, count).numbers[:SAMPLED]
  return packing.stack([suite.prompt(stream, n)[0] for n in numbers])

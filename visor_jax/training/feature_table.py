"""What the router reads of questions, in files.

A file holds some questions, each as the bytes of its arrays one behind the
other. Files are read, not mapped: a disk that fails then raises. Those in a
bucket are copied to this machine first.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
import pathlib

import jax
import numpy as np

from visor_jax.models import router
from visor_jax.runtime import checksums
from visor_jax.runtime import files
from visor_jax.runtime import paths


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureTable:
  """Features of questions in a folder.

  Attributes:
    folder: of the files.
    numbers: of the questions, in order.
    size: questions in a file; the last may have fewer.
    shapes: of the features of one row, a leading axis of 1 in each.
  """

  folder: pathlib.Path
  numbers: tuple[int, ...]
  size: int
  shapes: router.Features

  @functools.cached_property
  def dtype(self) -> np.dtype:
    """Of a question: a field for each array of its features."""
    leaves = enumerate(jax.tree.leaves(self.shapes))
    return np.dtype([(str(i), x.dtype, x.shape[1:]) for i, x in leaves])

  @property
  def bytes(self) -> int:
    """That all of them take."""
    return len(self.numbers) * self.dtype.itemsize

  @functools.cached_property
  def _local(self) -> Callable[[int], pathlib.Path]:
    return functools.cache(lambda file: paths.local_copy(self.path(file)))

  @functools.cached_property
  def _row(self) -> dict[int, int]:
    return {number: row for row, number in enumerate(self.numbers)}

  def rows(self, file: int) -> range:
    """Which questions a file has, counted in `numbers`."""
    start = file * self.size
    return range(start, min(start + self.size, len(self.numbers)))

  def path(self, file: int) -> pathlib.Path:
    """Of a file, counted from 0."""
    rows = self.rows(file)
    return self.folder / f'{rows.start}-{rows.stop}.bin'

  def missing(self) -> list[int]:
    """The files that are not there, or not what was written."""
    count = -(-len(self.numbers) // self.size)
    return [file for file in range(count) if not self._intact(file)]

  def _intact(self, file: int) -> bool:
    path, size = self.path(file), len(self.rows(file)) * self.dtype.itemsize

    def check() -> bool:
      if len(checksums.read_bytes(path)) != size:
        raise ValueError(f'{path} has not {size} bytes')
      return True

    return checksums.intact(path, check) is not None

  def write(self, file: int, features: router.Features) -> None:
    """Writes a file and its hash, complete or not at all.

    Args:
      file: which one, counted from 0.
      features: numpy arrays [B, ...]; rows behind the file's are left out.
    """
    entries = np.empty(len(self.rows(file)), self.dtype)
    for name, array in zip(self.dtype.names or (), jax.tree.leaves(features)):
      entries[name] = array[: len(entries)]
    checksums.write(self.path(file), entries.tobytes())

  def read(self, number: int) -> np.ndarray:
    """A question by its number: one entry of `dtype`."""
    file, at = divmod(self._row[number], self.size)
    width = self.dtype.itemsize
    part = files.read_bytes(self._local(file), at * width, width)
    return np.frombuffer(part, self.dtype)[0]

  def stack(self, rows: Sequence[np.ndarray]) -> router.Features:
    """Questions as `read` gives them, as features [B, ...]."""
    entries, tree = np.stack(rows), jax.tree.structure(self.shapes)
    columns = (entries[name] for name in self.dtype.names or ())
    return jax.tree.unflatten(tree, map(np.ascontiguousarray, columns))

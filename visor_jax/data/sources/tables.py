"""Rows of parquet files by their number, as the hub serves them."""

from collections.abc import Sequence
import functools
import pathlib
from typing import Any

import numpy as np
import pyarrow.parquet

from visor_jax.data.sources import fingerprints
from visor_jax.runtime import paths


class Table:
  """The rows of several files, one file behind the other.

  A row group is read at once and cached for the next row. What the table itself
  holds is small, so that it can be pickled for a worker.

  Args:
    files: paths, in order.
    needed: columns that each file must have.
    wanted: columns that are read where they are there.

  Attributes:
    fingerprint: changes when the data does.

  Raises:
    ValueError: a file is not parquet or lacks a column, or there are no rows.
  """

  def __init__(
    self,
    files: Sequence[pathlib.Path],
    needed: Sequence[str],
    wanted: Sequence[str] = (),
  ):
    self._groups: list[tuple[pathlib.Path, int, tuple[str, ...]]] = []
    lengths = [0]
    files = [paths.local_copy(path) for path in files]
    for path in files:
      names, meta = column_names(path), _metadata(path)
      for name in needed:
        if name not in names:
          raise ValueError(f'{path}: no column {name}, only {", ".join(names)}')
      columns = tuple(n for n in (*needed, *wanted) if n in names)
      for group in range(meta.num_row_groups):
        self._groups.append((path, group, columns))
        lengths.append(meta.row_group(group).num_rows)
    self._starts = np.cumsum(lengths)
    traces = fingerprints.traces(files)
    self.fingerprint = fingerprints.digest(len(self), *traces)
    if not len(self):
      raise ValueError(f'{files[0]}: no records')

  def __len__(self) -> int:
    return int(self._starts[-1])

  def __getitem__(self, index: int) -> dict[str, Any]:
    """{column: value} of a row.

    Raises:
      UnicodeDecodeError: a text is none.
    """
    group = int(np.searchsorted(self._starts, index, 'right')) - 1
    table = _read_cached(*self._groups[group])
    row = int(index - self._starts[group])
    return {name: table[name][row].as_py() for name in table.column_names}

  def column(self, name: str) -> list[Any]:
    """All values of a column."""
    values: list[Any] = []
    for path, group, _ in self._groups:
      values += _read(path, group, (name,))[name].to_pylist()
    return values


def column_names(path: pathlib.Path) -> list[str]:
  """The columns of a file.

  Raises:
    ValueError: it is not parquet.
  """
  return _metadata(path).schema.to_arrow_schema().names


def _metadata(path: pathlib.Path) -> pyarrow.parquet.FileMetaData:
  try:
    return pyarrow.parquet.read_metadata(paths.local_copy(path))
  except pyarrow.ArrowException as e:
    raise ValueError(f'{path}: not a parquet file: {e}') from None


def _read(
  path: pathlib.Path, group: int, columns: tuple[str, ...]
) -> pyarrow.Table:
  try:
    with pyarrow.parquet.ParquetFile(path) as file:
      return file.read_row_group(group, columns)
  except pyarrow.ArrowException as e:
    raise ValueError(f'{path} row group {group}: {e}') from e
  except OSError as e:  # also where a page is no compressed data
    raise OSError(e.errno, f'row group {group}: {e}', str(path)) from e


# Not cached by the table, which would have to pickle it.
_read_cached = functools.lru_cache(maxsize=2)(_read)

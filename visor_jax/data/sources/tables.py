"""Rows of parquet files by their number, as the hub serves them."""

import functools

import numpy as np
import pyarrow.parquet

from visor_jax.data.sources import shards


class Table:
  """The rows of some files, one file behind the other.

  A row group is read as a whole and kept for the next row. What is kept by the
  table itself is small, so that it can be pickled for a worker.

  Args:
    files: in order.
    needed: columns that each file must have.
    wanted: columns that are read where they are there.

  Attributes:
    fingerprint: changes when the data does.

  Raises:
    ValueError: a file is not parquet or lacks a column, or there are no rows.
  """

  def __init__(self, files, needed, wanted=()):
    self._groups, rows = [], [0]
    for path in files:
      try:
        with pyarrow.parquet.ParquetFile(path) as file:
          names, meta = file.schema_arrow.names, file.metadata
      except pyarrow.ArrowException as e:
        raise ValueError(f'{path}: not a parquet file: {e}') from None
      for name in needed:
        if name not in names:
          raise ValueError(f'{path}: no column {name}, only {", ".join(names)}')
      columns = [n for n in (*needed, *wanted) if n in names]
      for group in range(meta.num_row_groups):
        self._groups.append((path, group, tuple(columns)))
        rows.append(meta.row_group(group).num_rows)
    self._starts = np.cumsum(rows)
    self.fingerprint = shards.digest(len(self), *shards.traces(files))
    if not len(self):
      raise ValueError(f'{files[0]}: no records')

  def __len__(self):
    return int(self._starts[-1])

  def __getitem__(self, index: int) -> dict:
    """{column: value} of a row.

    Raises:
      UnicodeDecodeError: a text is none.
    """
    group = np.searchsorted(self._starts, index, 'right') - 1
    table, row = _group(*self._groups[group]), int(index - self._starts[group])
    return {c: table[c][row].as_py() for c in table.column_names}

  def column(self, name: str) -> list:
    """All values of a column."""
    out = []
    for path, group, _ in self._groups:
      with pyarrow.parquet.ParquetFile(path) as file:
        out += file.read_row_group(group, (name,))[name].to_pylist()
    return out


@functools.lru_cache(maxsize=2)
def _group(path, group, columns):
  """Not kept by the table, which would have to pickle it."""
  with pyarrow.parquet.ParquetFile(path) as file:
    return file.read_row_group(group, columns)

"""Conversations in parquet files, as the hub serves them."""

from collections.abc import Sequence
import pathlib
import re

from visor_jax.data.sources import image_paths
from visor_jax.data.sources import llava
from visor_jax.data.sources import records
from visor_jax.data.sources import tables


class Parquet:
  """Parquet files of conversations.

  Columns are the fields of `llava.parse`; others are left alone. For random
  order, prepare shards.

  Attributes:
    name: what the files' names begin with.
    fingerprint: changes when the data does.

  Args:
    files: paths, in order.
    images: where image paths start from.

  Raises:
    ValueError: a file is not parquet or lacks a column, or there are no rows.
  """

  def __init__(
    self,
    files: Sequence[pathlib.Path],
    images: image_paths.Folder = image_paths.Folder(),
  ):
    self.name = re.sub(r'-\d+-of-\d+.*', '', files[0].stem)
    self._images = images
    names = tables.column_names(files[0])
    turns = [name for name in llava.TURNS if name in names] or llava.TURNS
    others = [name for name in llava.FIELDS if name != turns[0]]
    self._table = tables.Table(files, turns[:1], others)
    self.fingerprint = self._table.fingerprint

  def __len__(self) -> int:
    return len(self._table)

  def __getitem__(self, index: int) -> records.Record:
    name = f'{self.name}/{index}'
    try:
      fields = self._table[index]
    except UnicodeDecodeError as e:
      raise records.BadRecord('bad text', str(e), name) from None
    return llava.parse(fields, name, self._images, self.name)

  def outline(self, index: int) -> records.Record:
    """The record itself: sizes are known by the images alone."""
    return self[index]

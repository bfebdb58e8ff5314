"""Tensors of a checkpoint and our parameters: a table, read both ways.

Axes are single letters, a word of several is one axis that holds them all, the
first the slowest:

  language  D width, E width, F mlp, N heads, K key heads, H head width,
            C vocabulary
  vision    d width, f mlp, n heads, h head width, P patches, p and q rows and
            columns of a patch, c colours
"""

from collections.abc import Iterable
import dataclasses
import math
import re
from typing import NamedTuple

import numpy as np

from visor_jax.spec import sizes


class Row(NamedTuple):
  """A parameter and its tensors, one for each layer where it is of layers.

  Attributes:
    path: of our parameter; those of layers are stacked on a further first axis.
    name: of their tensor; {} is the number of a layer.
    theirs: axes of their tensor.
    ours: axes of our parameter, without the stack.
  """

  path: str
  name: str
  theirs: str
  ours: str


@dataclasses.dataclass(frozen=True)
class Home:
  """Where one of their tensors lives with us.

  Attributes:
    path: of our parameter.
    layer: its index in the stack, None where there is no stack.
    theirs: axes of their tensor.
    ours: axes of our parameter, without the stack.
    lengths: of every axis.
  """

  path: str
  layer: int | None
  theirs: str
  ours: str
  lengths: dict[str, int]

  @property
  def tensor_shape(self) -> tuple[int, ...]:
    """Of their tensor."""
    return self._shape(self.theirs)

  @property
  def layer_shape(self) -> tuple[int, ...]:
    """Of our parameter, one layer of it."""
    return self._shape(self.ours)

  def to_ours(self, array: np.ndarray) -> np.ndarray:
    """Their tensor as one layer of our parameter; a view where it can be."""
    return self._turn(array, self.theirs, self.ours)

  def to_theirs(self, array: np.ndarray) -> np.ndarray:
    """The inverse of `to_ours`."""
    return self._turn(array, self.ours, self.theirs)

  def _shape(self, axes: str) -> tuple[int, ...]:
    return tuple(
      math.prod(self.lengths[letter] for letter in word)
      for word in axes.split()
    )

  def _turn(self, array: np.ndarray, before: str, after: str) -> np.ndarray:
    letters = before.replace(' ', '')
    order = [letters.index(letter) for letter in after.replace(' ', '')]
    array = array.reshape([self.lengths[letter] for letter in letters])
    return array.transpose(order).reshape(self._shape(after))


@dataclasses.dataclass(frozen=True)
class Table:
  """The tensors of a family.

  Names may be spelled in several ways; those in the table are as they are
  written, the others are read.

  Attributes:
    rows: parameters and their tensors.
    embedding: name of the tensor of the embedding.
    head: name of that of the output head, which a tied model has not.
    tower_layer: what names of the vision tower's layers begin with; {} is the
      number of the layer.
    spellings: what begins a name in each of the spellings, the written one
      first; the longest that fits a name counts.
    unused: patterns of tensors that no computation of ours reads; they are kept
      for the way back.
  """

  rows: tuple[Row, ...]
  embedding: str
  head: str
  tower_layer: str
  spellings: tuple[tuple[str, ...], ...] = ()
  unused: tuple[str, ...] = ()

  def homes(self, size: sizes.Size) -> dict[str, Home]:
    """{name of a tensor: its home} of all that a model of this size has."""
    lengths = _lengths(size)
    homes = {}
    for row in self.rows:
      if row.name == self.head and size.language.tied:
        continue
      for layer in _layers(row, size):
        name = row.name.format(layer)
        homes[name] = Home(row.path, layer, row.theirs, row.ours, lengths)
    return homes

  def shapes(self, size: sizes.Size) -> dict[str, tuple[int, ...]]:
    """{path: shape} of the base's parameters."""
    shapes = {}
    for home in self.homes(size).values():  # the last layer comes last
      depth = () if home.layer is None else (home.layer + 1,)
      shapes[home.path] = depth + home.layer_shape
    return shapes

  def written(self, name: str) -> str:
    """A name in any spelling as it is written."""
    fits = [
      (len(spelling), spelling, row[0])
      for row in self.spellings
      for spelling in row
      if name.startswith(spelling)
    ]
    if not fits:
      return name
    _, spelling, written = max(fits)
    return written + name[len(spelling) :]

  def is_unused(self, name: str, size: sizes.Size, tower_layers: int) -> bool:
    """Whether a tensor is one that we only keep.

    Args:
      name: of the tensor, as it is written.
      size: whose vision tower may stop before the last layer of the checkpoint.
      tower_layers: how many of them the checkpoint has.
    """
    past = [
      self.tower_layer.format(layer)
      for layer in range(size.vision.depth, tower_layers)
    ]
    return name.startswith(tuple(past)) or any(
      re.fullmatch(pattern, name) for pattern in self.unused
    )


def rows(
  path: str, name: str, cells: Iterable[tuple[str, str, str, str]]
) -> list[Row]:
  """Rows whose paths, and whose names, begin alike."""
  return [
    Row(path + path_end, name + name_end, theirs, ours)
    for path_end, name_end, theirs, ours in cells
  ]


def is_stacked(path: str) -> bool:
  """Whether layers are stacked on the first axis of a parameter."""
  return path.startswith(('vision/layers/', 'llm/layers/', 'llm/cross/'))


def _layers(row: Row, size: sizes.Size) -> Iterable[int | None]:
  """Numbers of the layers that have a row's tensor; None for no layer."""
  if '{}' not in row.name:
    return (None,)
  of_tower = row.path.startswith('vision/')
  return range(size.vision.depth if of_tower else size.language.depth)


def _lengths(size: sizes.Size) -> dict[str, int]:
  """The length of each axis."""
  vision, language = size.vision, size.language
  return dict(
    D=language.width,
    E=language.width,
    F=language.mlp,
    N=language.heads,
    K=language.key_heads,
    H=language.head_width,
    C=language.vocabulary,
    d=vision.width,
    f=vision.mlp,
    n=vision.heads,
    h=vision.width // vision.heads,
    P=vision.patches,
    p=vision.patch,
    q=vision.patch,
    c=3,
  )

"""Tensors of a checkpoint and our parameters: a table, read both ways.

Axes are single letters, a word of several is one axis that holds them all, the
first the slowest; how long each is, a group of rows says.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
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


def _always(size: sizes.Size) -> bool:
  del size
  return True


@dataclasses.dataclass(frozen=True)
class Group:
  """Rows whose letters mean the same, and that repeat alike.

  Attributes:
    rows: parameters and their tensors.
    lengths: of every axis in a model of a size.
    layers: how many layers have the rows whose names have a {}.
    present: whether a model of a size has the rows at all.
  """

  rows: Sequence[Row]
  lengths: Callable[[sizes.Size], dict[str, int]]
  layers: Callable[[sizes.Size], int]
  present: Callable[[sizes.Size], bool] = _always

  def homes(self, size: sizes.Size) -> Iterator[tuple[str, Home]]:
    """(name of a tensor, its home) of all rows."""
    if not self.present(size):
      return
    lengths, depth = self.lengths(size), self.layers(size)
    for row in self.rows:
      layers = range(depth) if '{}' in row.name else (None,)
      for layer in layers:
        home = Home(row.path, layer, row.theirs, row.ours, lengths)
        yield row.name.format(layer), home


@dataclasses.dataclass(frozen=True)
class Table:
  """The tensors of a family.

  Names may be spelled in several ways; those in the table are as they are
  written, the others are read.

  Attributes:
    groups: of rows.
    embedding: name of the tensor of the embedding.
    head: name of that of the output head, which a tied model has not.
    spellings: (pattern, what takes its place), applied to a name one after the
      other, until it is as it is written.
    unused: patterns of tensors that no computation of ours reads; they are kept
      for the way back.
    tower_layer: what names of the vision tower's layers begin with, where a
      checkpoint may have more than run; {} is the number of the layer.
  """

  groups: tuple[Group, ...]
  embedding: str
  head: str
  spellings: tuple[tuple[str, str], ...] = ()
  unused: tuple[str, ...] = ()
  tower_layer: str = ''

  def homes(self, size: sizes.Size) -> dict[str, Home]:
    """{name of a tensor: its home} of all that a model of this size has."""
    return {
      name: home
      for group in self.groups
      for name, home in group.homes(size)
      if name != self.head or not size.language.tied
    }

  def shapes(self, size: sizes.Size) -> dict[str, tuple[int, ...]]:
    """{path: shape} of the base's parameters."""
    shapes = {}
    for home in self.homes(size).values():  # the last layer comes last
      depth = () if home.layer is None else (home.layer + 1,)
      shapes[home.path] = depth + home.layer_shape
    return shapes

  def written(self, name: str) -> str:
    """A name in any spelling as it is written."""
    for pattern, written in self.spellings:
      name = re.sub(pattern, written, name)
    return name

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
  return '/layers/' in path or path.startswith('llm/cross/')

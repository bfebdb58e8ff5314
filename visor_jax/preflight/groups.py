"""Which devices of a mesh speak to each other in a collective of HLO text.

XLA writes groups in three ways: as lists, {{0,1},{2,3}}; as a transposed range,
[2,2]<=[4]; and as axes of a mesh of its own, mesh['a'=2,'b'=2] {'b'}.
"""

import collections
from collections.abc import Mapping
from collections.abc import Sequence
import math
import re
from typing import NamedTuple

import numpy as np

_PAIRS = re.compile(r'source_target_pairs=\{(\{[\d,{}]*\})\}')
_LISTS = re.compile(r'replica_groups=\{(\{[\d,{}]*\})\}')
_RANGE = re.compile(
  r'replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?'
)
_AXES = re.compile(
  r'replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(([^{]*)\))? \{([^}]*)\}'
)


class Group(NamedTuple):
  """Devices that speak to each other.

  Attributes:
    axes: of the mesh along which they stand, as 'fsdp' or 'data+fsdp'.
    devices: how many; 2 where a device sends to one other.
    islands: on how many of these they are, at most.
  """

  axes: str
  devices: int
  islands: int


def group(
  attributes: str, mesh: Mapping[str, int], islands: Sequence[int] = ()
) -> Group:
  """Who speaks to whom in a collective.

  Args:
    attributes: what stands behind its operands in HLO text.
    mesh: {axis: size} in the order of the mesh.
    islands: number of the island of each device of the mesh; none for one.
  """
  devices = _groups(attributes, math.prod(mesh.values()))
  coordinates = np.stack(np.unravel_index(devices, tuple(mesh.values())))
  differs = (coordinates != coordinates[:, :, :1]).any(axis=(1, 2))
  names = '+'.join(axis for axis, moves in zip(mesh, differs) if moves)
  numbers = np.asarray(islands)[devices] if islands else 0 * devices
  most = max(len(np.unique(group)) for group in numbers)
  # A device sends to one other, however long the chain is.
  pairs = 'source_target_pairs' in attributes and differs.any()
  return Group(names, 2 if pairs else devices.shape[1], most)


def _groups(attributes: str, devices: int) -> np.ndarray:
  """int [groups, n]: devices that speak to each other, by place in the mesh."""
  listed = _PAIRS.search(attributes) or _LISTS.search(attributes)
  if listed:
    return np.array(list(map(_ints, re.findall(r'\{([\d,]+)\}', listed[1]))))
  ranged = _RANGE.search(attributes)
  if ranged:
    shape, lengths, order = ranged.groups()
    return _range(_ints(lengths), _ints(order or '')).reshape(_ints(shape))
  named = _AXES.search(attributes)
  if named:
    return _along_axes(*named.groups())
  return np.arange(devices)[None]


def _ints(text: str) -> list[int]:
  return [int(n) for n in re.findall(r'\d+', text)]


def _range(lengths: Sequence[int], order: Sequence[int]) -> np.ndarray:
  """Devices counted along axes of these lengths, read off in another order."""
  devices = np.arange(math.prod(lengths)).reshape(lengths)
  return (devices.transpose(order) if order else devices).reshape(-1)


def _along_axes(mesh: str, ids: str | None, along: str) -> np.ndarray:
  """Groups along axes, or parts of them, of XLA's own mesh.

  Args:
    mesh: axes and sizes, "'a'=2,'b'=4".
    ids: the devices in order, as numbers or as a range; None for 0, 1, ...
    along: the axes, and which part of one: "'a','b':(2)4" is the axis b cut
      into 2, 4 and the rest, of which the 4 count.
  """
  sizes = {
    name.strip("'"): int(n) for name, n in re.findall(r"('?\w+'?)=(\d+)", mesh)
  }
  asked = collections.defaultdict(list)
  for name, before, size in re.findall(r"('?\w+'?)(?::\((\d+)\)(\d+))?", along):
    name = name.strip("'")
    asked[name].append((int(before or 1), int(size or sizes[name])))
  lengths: list[int] = []  # of the axes, cut into parts
  chosen: list[int] = []  # which of these the groups run along
  for name, length in sizes.items():
    past = 1
    for before, size in sorted(asked[name]):
      lengths += [before // past, size]
      chosen.append(len(lengths) - 1)
      past = before * size
    lengths.append(length // past)
  grid = _devices(ids, math.prod(sizes.values())).reshape(lengths)
  grid = np.moveaxis(grid, chosen, range(-len(chosen), 0))
  return grid.reshape(-1, math.prod(lengths[c] for c in chosen))


def _devices(ids: str | None, count: int) -> np.ndarray:
  if not ids:
    return np.arange(count)
  tiled = re.match(r'\[([\d,]+)\]T\(([\d,]+)\)', ids)
  if tiled:
    return _range(_ints(tiled[1]), _ints(tiled[2]))
  return np.array(_ints(ids))

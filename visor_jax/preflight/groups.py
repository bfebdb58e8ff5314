"""Which devices of a mesh speak to each other in a collective of HLO text.

XLA writes groups in three ways: as lists, {{0,1},{2,3}}; as a transposed range,
[2,2]<=[4]; and as axes of a mesh of its own, mesh['a'=2,'b'=2] {'b'}.
"""

import collections
import math
import re

import numpy as np


def axes(attributes: str, mesh: dict[str, int]) -> tuple[str, int]:
  """The axes of the mesh that a collective runs over, and how many devices.

  Args:
    attributes: what stands behind its operands in HLO text.
    mesh: {axis: size} in the order of the mesh.

  Returns:
    axes as 'fsdp' or 'data+fsdp', and the devices of a group.
  """
  groups = _groups(attributes, math.prod(mesh.values()))
  at = np.stack(np.unravel_index(groups, tuple(mesh.values())))
  moves = (at != at[:, :, :1]).any(axis=(1, 2))
  pairs = 'source_target_pairs' in attributes
  return '+'.join(a for a, m in zip(mesh, moves) if m), (
    2 if pairs and moves.any() else groups.shape[1]
  )


def _groups(attributes, devices):
  """int [groups, n]: devices that speak to each other, by place in the mesh."""
  pairs = re.search(r'source_target_pairs=\{(\{[\d,{}]*\})\}', attributes)
  listed = pairs or re.search(r'replica_groups=\{(\{[\d,{}]*\})\}', attributes)
  if listed:
    return np.array(
      [
        [int(n) for n in group.split(',')]
        for group in re.findall(r'\{([\d,]+)\}', listed[1])
      ]
    )
  ints = lambda text: [int(n) for n in re.findall(r'\d+', text)]
  iota = re.search(
    r'replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?', attributes
  )
  if iota:
    return _iota(ints(iota[2]), iota[3] and ints(iota[3])).reshape(
      ints(iota[1])
    )
  named = re.search(
    r'replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(([^{]*)\))? '
    r'\{([^}]*)\}',
    attributes,
  )
  if named:
    return _named(*named.groups())
  return np.arange(devices)[None]


def _iota(lengths, order=None):
  found = np.arange(math.prod(lengths)).reshape(lengths)
  return (found.transpose(order) if order else found).reshape(-1)


def _named(names, ids, within):
  """Groups along some axes, or parts of them, of XLA's own mesh."""
  sizes = {
    name.strip("'"): int(n) for name, n in re.findall(r"('?\w+'?)=(\d+)", names)
  }
  tiled = ids and re.match(r'\[([\d,]+)\]T\(([\d,]+)\)', ids)
  if tiled:
    devices = _iota(*([int(n) for n in t.split(',')] for t in tiled.groups()))
  else:
    devices = (
      np.array([int(n) for n in ids.split(',')])
      if ids
      else np.arange(math.prod(sizes.values()))
    )
  lengths, chosen = [], []
  asked = collections.defaultdict(list)
  for name, before, size in re.findall(
    r"('?\w+'?)(?::\((\d+)\)(\d+))?", within
  ):
    name = name.strip("'")
    asked[name].append((int(before or 1), int(size or sizes[name])))
  for name, length in sizes.items():
    past = 1
    for before, size in sorted(asked[name]):
      lengths += [before // past, size]
      chosen.append(len(lengths) - 1)
      past = before * size
    lengths.append(length // past)
  grid = devices.reshape(lengths)
  grid = np.moveaxis(grid, chosen, range(-len(chosen), 0))
  return grid.reshape(-1, math.prod(lengths[c] for c in chosen))

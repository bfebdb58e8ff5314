"""Where activations lie on the devices of a mesh.

Arrays carry logical axis names; the table in mesh.py says what they mean on
devices. Alone, or where nobody says, nothing is asked for.

Legend: B batch, S slots.
"""

import math

from flax import linen as nn
import jax
from jax.sharding import PartitionSpec


def constrain_slots(x: jax.Array) -> jax.Array:
  """[B, S, ...] with rows and slots where they belong, other axes replicated.

  Asked for where a layer begins and ends, because a compiler that guesses
  spreads activations as weights lie, and sends them instead of the weights.
  """
  return _constrain(x, 'batch', 'slots')


def constrain_table_rows(x: jax.Array) -> jax.Array:
  """[B, S, D] as rows of a table, whose axis D is spread, are found in it.

  Each device has its part of them all. Where there are copies of the table too,
  a compiler that guesses sums its whole gradient on every device.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return x
  places = spec(x.shape[:2], 'batch', 'slots')
  (width,) = spec(x.shape[2:], 'embed')
  spread = spec_axes(width)
  rest = (tuple(a for a in spec_axes(p) if a not in spread) for p in places)
  return jax.lax.with_sharding_constraint(x, PartitionSpec(*rest, width))


def constrain_tiles(x: jax.Array) -> jax.Array:
  """`constrain_slots` of [tiles of all rows, ...]."""
  return _constrain(x, 'tiles')


def _constrain(x: jax.Array, *names: str) -> jax.Array:
  if jax.sharding.get_abstract_mesh().empty:
    return x
  return jax.lax.with_sharding_constraint(x, spec(x.shape, *names))


def spec(shape: tuple[int, ...], *names: str | None) -> PartitionSpec:
  """Where an array lies on the mesh that is in use.

  Args:
    shape: of the array.
    *names: logical names of its first axes. One that its mesh axes do not
      divide is spread over fewer, the last left out first: nobody can part the
      one slot of a new token.
  """
  mesh = jax.sharding.get_abstract_mesh()
  entries = []
  for size, entry in zip(shape, nn.logical_to_mesh_axes(names) or ()):
    axes = spec_axes(entry)
    while size % math.prod(mesh.shape[axis] for axis in axes):
      axes = axes[:-1]
    entries.append(axes or None)
  return PartitionSpec(*entries)


def spec_axes(entry: str | tuple[str, ...] | None) -> tuple[str, ...]:
  """The mesh axes in one entry of a PartitionSpec, which may be of any form."""
  if entry is None:
    return ()
  return (entry,) if isinstance(entry, str) else entry

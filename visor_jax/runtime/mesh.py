"""Devices: the mesh, what logical axes mean on it, and placing arrays.

`AXES` and `RULES` are the only place that names mesh axes: one more is a line
in the first and its name in the rules of what it splits.
"""

import collections
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import math
from typing import Any
from typing import overload

from flax import linen as nn
import jax
from jax.sharding import AxisType
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np

from visor_jax.runtime import errors
from visor_jax.spec import batch as batch_lib

# {axis: devices along it unless the config says otherwise}, in the order of the
# devices; -1 fills with those left. Only the first may cross a slow network.
AXES = {
  'data': -1,  # copies of the model
  'fsdp': 1,  # devices over which parameters are spread
  'tensor': 1,  # devices over which heads and MLPs are spread
  'sequence': 1,  # devices over which the slots of a row are spread
}

# Mesh axes that a logical axis of parameters or activations is split over.
RULES: dict[str, tuple[str, ...]] = {
  'batch': ('data', 'fsdp'),
  'slots': ('sequence',),
  'tiles': ('data', 'fsdp', 'sequence'),
  'embed': ('fsdp', 'sequence'),
  'heads': ('tensor',),
  'key_heads': ('tensor',),
  'mlp': ('tensor',),
  'vocabulary': ('tensor',),
  'head': (),
  'hidden': (),
  'layers': (),
  'norm': (),
  'patch': (),
  'plans': (),
  'taps': (),
  'vision': (),
}


def make(devices: Sequence[jax.Device] | None = None, **sizes: int) -> Mesh:
  """A mesh with the axes of `AXES`.

  Of several slices, or hosts of GPUs, data alone crosses the slow network
  between them: in it slices follow one another.

  Args:
    devices: those to use; None for all there are.
    **sizes: devices along an axis of `AXES`; one may be -1 to fill. An axis
      that is not named has its default.

  Raises:
    ValueError: there is no such axis, the sizes do not multiply to the number
      of devices, or the first is no multiple of the slices of TPUs.
  """
  devices = jax.devices() if devices is None else devices
  for axis in sizes:
    if axis not in AXES:
      raise errors.Refusal(
        f'mesh.{axis} is no axis of the mesh, which has {", ".join(AXES)}'
      )
  names, asked = tuple(AXES), tuple((AXES | sizes).values())
  shape = list(asked)
  rest = math.prod(n for n in shape if n != -1)
  if shape.count(-1) == 1 and rest > 0:
    shape[shape.index(-1)] = len(devices) // rest
  if math.prod(shape) != len(devices) or min(shape) < 1:
    given = ', '.join(f'mesh.{axis}={n}' for axis, n in zip(names, asked))
    raise errors.Refusal(
      f'{given} do not multiply to the {len(devices)} devices there are; one '
      'may be -1'
    )
  slices = collections.defaultdict(list)
  for device in devices:
    slices[_slice(device)].append(device)
  groups = list(slices.values())
  if shape[0] % len(groups):
    if devices[0].platform == 'tpu':
      raise errors.Refusal(
        f'mesh.{names[0]}={shape[0]} is no multiple of the {len(groups)} '
        f'slices; only {names[0]} may cross the network between them'
      )
    groups = [list(devices)]  # what is slow there is the user's to know
  of_slice = (shape[0] // len(groups), *shape[1:])
  grids = [
    jax.make_mesh(of_slice, names, devices=group).devices for group in groups
  ]
  # Auto axes: linen's logical constraints fail on explicit ones.
  return Mesh(
    np.concatenate(grids), names, axis_types=(AxisType.Auto,) * len(names)
  )


def _slice(device: jax.Device) -> int | None:
  """The number of the group whose devices have a fast network."""
  return getattr(device, 'slice_index', None)


@contextlib.contextmanager
def use_mesh(mesh: Mesh) -> Iterator[None]:
  """In here what is compiled is compiled for the mesh."""
  with jax.set_mesh(mesh), nn.logical_axis_rules(tuple(RULES.items())):
    yield


def shardings(boxed: Mapping[str, Any], mesh: Mesh) -> Mapping[str, Any]:
  """How the parameters lie on the mesh.

  Args:
    boxed: tree of abstract parameters with their logical axes, as eval_shape
      of a model's init gives them.
    mesh: devices to spread them over.

  Returns:
    A tree of NamedSharding like the unboxed parameters.

  Raises:
    ValueError: an axis does not divide, with parameter and axes named, or has
      no rule.
  """

  def sharding(path, leaf) -> NamedSharding:
    if not _is_boxed(leaf):
      return replicated(mesh)
    spec = [_mesh_axes(name) for name in leaf.names]
    for name, axes, length in zip(leaf.names, spec, leaf.value.shape):
      if length % _size(axes, mesh):
        raise errors.Refusal(
          f'{path_name(path)} {leaf.value.shape}: its axis "{name}" of '
          f'{length} does not divide by {_sizes(axes, mesh)}'
        )
    return NamedSharding(mesh, PartitionSpec(*spec))

  return jax.tree_util.tree_map_with_path(sharding, boxed, is_leaf=_is_boxed)


def _mesh_axes(name: str | None) -> tuple[str, ...]:
  """Mesh axes that a logical axis is split over; none for one without name."""
  if name is None:
    return ()
  if name not in RULES:
    raise errors.Refusal(
      f'there is no rule for the logical axis "{name}"; mesh.RULES has '
      + ', '.join(RULES)
    )
  return RULES[name]


def _is_boxed(leaf: object) -> bool:
  return isinstance(leaf, nn.meta.AxisMetadata)


def _size(axes: Sequence[str], mesh: Mesh) -> int:
  """Into how many parts these mesh axes split."""
  return math.prod(mesh.shape[axis] for axis in axes)


def _sizes(axes: Sequence[str], mesh: Mesh) -> str:
  """These mesh axes as errors name them."""
  return ' * '.join(f'mesh.{axis}={mesh.shape[axis]}' for axis in axes)


def path_name(path: jax.tree_util.KeyPath) -> str:
  """A jax key path as 'llm/layers/mlp/up'."""
  return '/'.join(str(getattr(k, 'key', getattr(k, 'name', k))) for k in path)


def replicated(mesh: Mesh) -> NamedSharding:
  """Every device holds all of it."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Split along the batch."""
  return NamedSharding(mesh, PartitionSpec(RULES['batch']))


def num_batch_shards(mesh: Mesh) -> int:
  """Over how many devices the rows of a batch are split."""
  return _size(RULES['batch'], mesh)


def _batch_keys() -> str:
  """As errors name them."""
  return ' * '.join(f'mesh.{axis}' for axis in RULES['batch'])


def check_batch(name: str, rows: int, mesh: Mesh, parts: int = 1) -> None:
  """Whether the rows spread evenly over the devices.

  Args:
    name: stage or job whose batch it is, for the error.
    rows: of the global batch.
    mesh: devices to spread them over.
    parts: into which the batch is cut, computed one after the other.

  Raises:
    ValueError: naming the keys to change.
  """
  shards = num_batch_shards(mesh)
  if rows % (shards * parts):
    nearest = _nearest_multiple(rows, shards * parts)
    raise errors.Refusal(
      f'{name}.batch is {rows}, which {_batch_keys()} = {shards}'
      + f' times {name}.accumulate = {parts}' * (parts > 1)
      + f' does not divide; {name}.batch={nearest} would do'
    )


def check_slots(slots: Mapping[str, int], mesh: Mesh) -> None:
  """Whether the slots of a row spread evenly over the devices of a row.

  Args:
    slots: {key of the config: slots}.
    mesh: devices to spread them over.

  Raises:
    ValueError: naming the key to change.
  """
  axes = RULES['slots']
  for key, count in slots.items():
    if count % _size(axes, mesh):
      nearest = _nearest_multiple(count, _size(axes, mesh))
      raise errors.Refusal(
        f'{key} is {count}, which {_sizes(axes, mesh)} does not divide; '
        f'{key}={nearest} would do'
      )


def _nearest_multiple(count: int, of: int) -> int:
  return max(1, round(count / of)) * of


def local_rows(count: int, mesh: Mesh) -> list[int]:
  """The rows of a global batch that this process places, in order.

  Which they are is the mesh's affair: on a TPU, devices of a host need not be
  neighbours in it, and those of two hosts may share their rows.
  """
  indices = batch_sharding(mesh).addressable_devices_indices_map((count,))
  slices = [index[0] for index in indices.values() if index]
  return sorted({row for part in slices for row in range(count)[part]})


@overload
def shard_batch(tree: batch_lib.Batch, mesh: Mesh) -> batch_lib.Batch: ...
@overload
def shard_batch(tree: np.ndarray, mesh: Mesh) -> jax.Array: ...
def shard_batch(tree, mesh):
  """Host-local numpy rows to global arrays, split along the batch.

  Args:
    tree: a Batch, or an array whose first axis is the rows of this process,
      those of `local_rows`.
    mesh: devices to spread them over.

  Raises:
    ValueError: the rows do not divide by the devices of the batch axes.
  """
  if isinstance(tree, batch_lib.Batch):
    return tree.map(lambda x: shard_batch(x, mesh))
  shards = num_batch_shards(mesh)
  local = len(local_rows(shards, mesh))
  if len(tree) % local:
    raise errors.Refusal(
      f'a batch of {len(tree) * shards // local} rows does not divide by '
      f'{_batch_keys()} = {shards}; change the batch or the mesh'
    )
  return jax.make_array_from_process_local_data(
    batch_sharding(mesh), np.asarray(tree)
  )

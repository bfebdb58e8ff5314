"""Devices: the mesh, what logical axes mean on it, and placing arrays."""

import collections
import contextlib
import math

from flax import linen as nn
import jax
from jax.sharding import AxisType
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec
import numpy as np

from visor_jax.spec import batch as batch_lib

AXES = ('data', 'fsdp', 'tensor')

# From logical axes of parameters and activations to mesh axes.
RULES = {
  'batch': ('data', 'fsdp'),
  'embed': 'fsdp',
  'heads': 'tensor',
  'key_heads': 'tensor',
  'mlp': 'tensor',
  'vocabulary': 'tensor',
  'head': None,
  'hidden': None,
  'layers': None,
  'norm': None,
  'patch': None,
  'plans': None,
  'taps': None,
  'vision': None,
}


def make(data: int = -1, fsdp: int = 1, tensor: int = 1, devices=None):
  """A mesh with axes data, fsdp and tensor; one may be -1 to fill.

  Of several slices, or hosts of GPUs, data alone crosses the slow network
  between them: in it slices follow one another.

  Raises:
    ValueError: the sizes do not multiply to the number of devices, or data is
      no multiple of the slices of TPUs.
  """
  devices = jax.devices() if devices is None else devices
  shape = [data, fsdp, tensor]
  rest = math.prod(n for n in shape if n != -1)
  if shape.count(-1) == 1 and rest > 0:
    shape[shape.index(-1)] = len(devices) // rest
  if math.prod(shape) != len(devices) or min(shape) < 1:
    raise ValueError(
      f'mesh.data={data}, mesh.fsdp={fsdp}, mesh.tensor={tensor} do not '
      f'multiply to the {len(devices)} devices there are; one may be -1'
    )
  parts = collections.defaultdict(list)
  for device in devices:
    parts[_slice(device)].append(device)
  if shape[0] % len(parts):
    if devices[0].platform == 'tpu':
      raise ValueError(
        f'mesh.data={shape[0]} is no multiple of the {len(parts)} slices; '
        'only data may cross the network between them'
      )
    parts = {0: devices}  # what is slow there is the user's to know
  grids = [
    jax.make_mesh(
      (shape[0] // len(parts), *shape[1:]), AXES, devices=part
    ).devices
    for part in parts.values()
  ]
  # Auto axes: linen's logical constraints fail on explicit ones.
  return jax.sharding.Mesh(
    np.concatenate(grids), AXES, axis_types=(AxisType.Auto,) * len(AXES)
  )


def _slice(device):
  """The number of the group whose devices have a fast network."""
  return getattr(device, 'slice_index', None)


@contextlib.contextmanager
def use_mesh(mesh):
  """In here what is compiled is compiled for the mesh."""
  with jax.set_mesh(mesh), nn.logical_axis_rules(tuple(RULES.items())):
    yield


def _axes(names, mesh):
  """Mesh axes of an array's logical axes; None where nothing is split."""
  return PartitionSpec(*(RULES[n] if n else None for n in names))


def shardings(boxed, mesh):
  """How the parameters lie on the mesh.

  Args:
    boxed: abstract parameters with their logical axes, as eval_shape of a
      model's init gives them.
    mesh: of `make`.

  Returns:
    A tree of NamedSharding like the unboxed parameters.

  Raises:
    ValueError: an axis does not divide, with parameter and axis named.
  """

  def one(path, leaf):
    if not isinstance(leaf, nn.meta.AxisMetadata):
      return NamedSharding(mesh, PartitionSpec())
    spec = _axes(leaf.names, mesh)
    for name, axis, length in zip(leaf.names, spec, leaf.value.shape):
      ways = mesh.shape[axis] if axis else 1
      if length % ways:
        raise ValueError(
          f'{path_name(path)} {leaf.value.shape}: its axis "{name}" of '
          f'{length} does not divide by mesh.{axis}={ways}'
        )
    return NamedSharding(mesh, spec)

  is_box = lambda x: isinstance(x, nn.meta.AxisMetadata)
  return jax.tree_util.tree_map_with_path(one, boxed, is_leaf=is_box)


def path_name(path) -> str:
  """A jax key path as 'llm/layers/mlp/up'."""
  return '/'.join(str(getattr(k, 'key', getattr(k, 'name', k))) for k in path)


def replicated(mesh) -> NamedSharding:
  """Every device holds all of it."""
  return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh) -> NamedSharding:
  """Split along the batch."""
  return NamedSharding(mesh, PartitionSpec(RULES['batch']))


def num_batch_shards(mesh) -> int:
  """Over how many devices the rows of a batch are split."""
  return mesh.shape['data'] * mesh.shape['fsdp']


def check_batch(name: str, rows: int, mesh, parts: int = 1) -> None:
  """Whether the rows spread evenly over the devices.

  Args:
    name: of the stage, for the error.
    rows: of the global batch.
    mesh: of `make`.
    parts: that the batch is computed in, one after the other.

  Raises:
    ValueError: naming the keys to change.
  """
  ways = num_batch_shards(mesh)
  if rows % (ways * parts):
    raise ValueError(
      f'{name}.batch is {rows}, which mesh.data * mesh.fsdp = {ways}'
      + f' times {name}.accumulate = {parts}' * (parts > 1)
      + ' does not divide'
    )


def local_rows(count: int, mesh) -> list[int]:
  """The rows of a global batch that this process places, in order.

  Which they are is the mesh's affair: on a TPU, devices of a host need not be
  neighbours in it, and those of two hosts may share their rows.
  """
  where = batch_sharding(mesh).addressable_devices_indices_map((count,))
  return sorted({i for (part,) in where.values() for i in range(count)[part]})


def shard_batch(tree, mesh):
  """Host-local numpy rows to global arrays, split along the batch.

  Args:
    tree: a Batch or any pytree of numpy arrays whose first axis is the rows of
      this process, those of `own`.
    mesh: of `make`.

  Raises:
    ValueError: the rows do not divide by data * fsdp.
  """
  if isinstance(tree, batch_lib.Batch):
    return tree.map(lambda x: shard_batch(x, mesh))
  ways = num_batch_shards(mesh)
  here = len(local_rows(ways, mesh))
  if len(tree) % here:
    raise ValueError(
      f'a batch of {len(tree) * ways // here} rows does not divide by '
      f'mesh.data * mesh.fsdp = {ways}; change the batch or the mesh'
    )
  return jax.make_array_from_process_local_data(
    batch_sharding(mesh), np.asarray(tree)
  )

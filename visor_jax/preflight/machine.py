"""Devices that are described and not there."""

import dataclasses
import importlib.util
import math
import os
from typing import Any

import jax
from jax.experimental import topologies
import ml_collections

from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import xla_flags
from visor_jax.spec import chips

GIB = 2**30

# GiB of HBM that libtpu 0.0.42 lets a program have; the data sheets
# (cloud.google.com/tpu/docs/v5e, /v5p and /v6e) say 16, 95 and 32 GB.
CHIPS = {'v5e': 15.75, 'v5p': 95.74, 'v6e': 31.25}


@dataclasses.dataclass(frozen=True)
class Machine:
  """Devices to compile for.

  Attributes:
    name: as 'v5e:16x16' or 'cpu:256'.
    devices: that may be described and not there.
    memory: bytes a device holds, None where nobody says.
    flops: a second at most, likewise.
  """

  name: str
  devices: tuple[jax.Device, ...]
  memory: float | None = None
  flops: float | None = None

  @property
  def tpu(self) -> bool:
    """Whether they are TPUs and not CPUs."""
    return not self.name.startswith('cpu:')


def prepare(topology: str) -> None:
  """Sets jax up to describe a topology; call it before jax is used."""
  # Without the first, libtpu waits for a metadata server that is not there;
  # without the second it refuses to run twice, though it opens no device.
  os.environ['TPU_SKIP_MDS_QUERY'] = '1'
  os.environ['ALLOW_MULTIPLE_LIBTPU_LOAD'] = '1'
  xla_flags.set_overlap_flags(os.environ)  # as the run will be compiled
  jax.config.update('jax_platforms', 'cpu')
  if topology.startswith('cpu:'):
    jax.config.update('jax_num_cpu_devices', _count(topology))


def describe(
  topology: str, memory: float | None = None, slices: int = 1
) -> Machine:
  """The machine of that name.

  Args:
    topology: chip and shape as 'v5e:16x16', or 'cpu:N' for N fake devices.
    memory: GiB of a device, instead of what is known of the chip.
    slices: so many of that topology, of TPUs.

  Raises:
    ValueError: there is no such topology, or libtpu is not installed.
  """
  room = memory and memory * GIB
  if topology.startswith('cpu:'):
    count = _count(topology)
    if len(jax.devices()) < count:
      raise ValueError(
        f'topology {topology}, but jax was set up with '
        f'{len(jax.devices())} devices'
      )
    return Machine(topology, tuple(jax.devices()[:count]), room)
  name, _, shape = topology.partition(':')
  if name not in CHIPS or not shape:
    raise ValueError(
      f'topology "{topology}": chip and shape, as v5e:16x16, '
      f'v5p:4x4x4 or v6e:8x8, or cpu:N; chips are '
      f'{", ".join(CHIPS)}'
    )
  if importlib.util.find_spec('libtpu') is None:
    raise ValueError(
      f'topology {topology} needs libtpu, the compiler for TPUs, which is '
      "not installed: pip install 'visor_jax[preflight]' (684 MB); or take "
      'as many fake devices, --topology=cpu:N'
    )
  try:
    more = {} if slices == 1 else {'num_slices': slices}
    description: Any = topologies.get_topology_desc(topology, 'tpu', **more)
    devices = tuple(description.devices)
  except Exception as e:  # jax raises whatever libtpu raises
    raise ValueError(f'topology {topology}: {e}') from e
  return Machine(
    f'{slices} x ' * (slices > 1) + topology,
    devices,
    room or CHIPS[name] * GIB,
    chips.peak(devices[0].device_kind),
  )


def _count(topology: str) -> int:
  """N of cpu:N."""
  count = topology.partition(':')[2]
  if not count.isdigit() or not int(count):
    raise ValueError(f'topology "{topology}": how many devices, as cpu:256?')
  return int(count)


def mesh_shape(
  config: ml_collections.ConfigDict, devices: int
) -> dict[str, int]:
  """{axis: size} of the configured mesh on so many devices."""
  shape = {axis: config.mesh[axis] for axis in mesh_lib.AXES}
  rest = math.prod(n for n in shape.values() if n != -1)
  fill = devices // max(rest, 1)
  return {axis: fill if n == -1 else n for axis, n in shape.items()}

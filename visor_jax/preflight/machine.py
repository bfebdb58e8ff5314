"""Devices that are described and not there."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import importlib.util
import math
import os
from typing import Any

import jax
from jax.experimental import topologies
import ml_collections

from visor_jax.preflight import gpus
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import xla_flags
from visor_jax.spec import chips

GIB = 2**30

# GiB of HBM that libtpu 0.0.42 lets a program have; the data sheets
# (cloud.google.com/tpu/docs/v5e, /v5p, /v6e and /tpu7x) say 16, 95, 32 and, of
# half a chip, 96.
TPUS = {'v5e': 15.75, 'v5p': 95.74, 'v6e': 31.25, 'tpu7x': 94.75}

# Of a GPU's memory a program may have so much; the rest is for CUDA, NCCL and
# cuBLAS. Unless told by the variable, jax gives it three quarters.
SHARE, SHARE_VARIABLE = 0.95, 'XLA_PYTHON_CLIENT_MEM_FRACTION'

EXAMPLES = 'v5e:16x16, v5p:4x4x4, h100:8 (one host) or h100:4x8 (four), cpu:N'


@dataclasses.dataclass(frozen=True)
class Machine:
  """Devices to compile for.

  Attributes:
    name: as 'v5e:16x16', 'h100:4x8' or 'cpu:256'.
    devices: that may be described and not there.
    memory: bytes that a program may have of a device, None where nobody says.
    memory_setting: of the environment, without which jax gives less.
    chip: the device's data sheet, likewise.
    islands: {id of a device: number of the island}; devices of one have fast
      links to each other, and a network to the others.
  """

  name: str
  devices: tuple[jax.Device, ...]
  memory: float | None = None
  memory_setting: str = ''
  chip: chips.Chip | None = None
  islands: Mapping[int, int] = dataclasses.field(default_factory=dict)

  @property
  def platform(self) -> str:
    """cpu, tpu or gpu."""
    return self.devices[0].platform


def prepare(topology: str) -> None:
  """Sets jax up to describe a topology; call it before jax is used."""
  # Without the first, libtpu waits for a metadata server that is not there;
  # without the second it refuses to run twice, though it opens no device;
  # without the third, CUDA's plug-in refuses where there is no cuDNN.
  os.environ['TPU_SKIP_MDS_QUERY'] = '1'
  os.environ['ALLOW_MULTIPLE_LIBTPU_LOAD'] = '1'
  os.environ['JAX_SKIP_CUDA_CONSTRAINTS_CHECK'] = '1'
  xla_flags.set_overlap_flags(os.environ)  # as the run will be compiled
  jax.config.update('jax_platforms', 'cpu')
  if topology.startswith('cpu:'):
    jax.config.update('jax_num_cpu_devices', _count(topology))


def describe(
  topology: str, memory: float | None = None, slices: int = 1
) -> Machine:
  """The machine of that name.

  Args:
    topology: chip and shape as 'v5e:16x16', GPUs by host as 'h100:4x8', or
      'cpu:N' for N fake devices.
    memory: GiB of a device, instead of what is known of the chip.
    slices: so many of that topology, of TPUs.

  Raises:
    ValueError: there is no such topology or memory, or the compiler is not
      installed.
  """
  if memory is not None and not 0 < memory < math.inf:  # false for NaN
    raise ValueError(f'--memory is {memory:g}: expected GiB above 0')
  name, _, shape = topology.partition(':')
  describers: dict[str, Callable[[str, int], Machine]] = {
    'cpu': _cpus,
    **dict.fromkeys(TPUS, _tpus),
    **dict.fromkeys(gpus.GPUS, _gpus),
  }
  if name not in describers or not shape:
    raise ValueError(
      f'topology "{topology}": chip and shape, as {EXAMPLES}; chips are '
      f'{", ".join(describers)}'
    )
  if slices > 1 and name not in TPUS:
    raise ValueError(f'--slices={slices} is of TPUs, and {topology} has none')
  machine = describers[name](topology, slices)
  if memory is not None:
    return dataclasses.replace(machine, memory=memory * GIB, memory_setting='')
  return machine


def _cpus(topology: str, slices: int) -> Machine:
  count = _count(topology)
  if len(jax.devices()) < count:
    raise ValueError(
      f'topology {topology}, but jax was set up with '
      f'{len(jax.devices())} devices'
    )
  return Machine(topology, tuple(jax.devices()[:count]))


def _tpus(topology: str, slices: int) -> Machine:
  _check_installed(topology, 'libtpu', 'TPUs', 'preflight', '684 MB')
  more = {} if slices == 1 else {'num_slices': slices}
  devices = _topology_devices(topology, topology, 'tpu', **more)
  return Machine(
    f'{slices} x ' * (slices > 1) + topology,
    devices,
    TPUS[topology.partition(':')[0]] * GIB,
    chip=chips.named(devices[0].device_kind),
    islands={d.id: getattr(d, 'slice_index', 0) for d in devices},
  )


def _gpus(topology: str, slices: int) -> Machine:
  _check_installed(
    topology, 'jax_cuda13_plugin', 'GPUs', 'preflight-gpu', '132 MB'
  )
  name, _, shape = topology.partition(':')
  hosts, _, of_host = ('1x' + shape if 'x' not in shape else shape).partition(
    'x'
  )
  if not (_is_count(hosts) and _is_count(of_host)):
    raise ValueError(
      f'topology "{topology}": how many GPUs, as {name}:8, or hosts and GPUs '
      f'of each, as {name}:4x8?'
    )
  gpu = gpus.GPUS[name]
  devices = _topology_devices(
    topology,
    name,
    'cuda',
    target_config=gpu.target,
    topology=f'{hosts}x1x{of_host}',
  )
  return Machine(
    topology,
    devices,
    gpu.memory * SHARE,
    f'{SHARE_VARIABLE}={SHARE}',
    chips.named(gpu.kind),
    {d.id: d.process_index // gpu.hosts for d in devices},
  )


def _check_installed(
  topology: str, module: str, chip: str, extra: str, size: str
) -> None:
  if importlib.util.find_spec(module) is None:
    raise ValueError(
      f'topology {topology} needs {module}, the compiler for {chip}, which is '
      f"not installed: pip install 'visor_jax[{extra}]' ({size}); or take as "
      'many fake devices, --topology=cpu:N'
    )


def _topology_devices(
  asked: str, name: str, platform: str, **more: Any
) -> tuple[jax.Device, ...]:
  try:
    described: Any = topologies.get_topology_desc(name, platform, **more)
    return tuple(described.devices)
  except Exception as e:  # jax raises whatever the compiler raises
    raise ValueError(f'topology {asked}: {e}') from e


def _count(topology: str) -> int:
  """N of cpu:N."""
  count = topology.partition(':')[2]
  if not _is_count(count):
    raise ValueError(f'topology "{topology}": how many devices, as cpu:256?')
  return int(count)


def _is_count(text: str) -> bool:
  # Not isdigit: superscripts are, which int does not read.
  return text.isascii() and text.isdecimal() and int(text) > 0


def mesh_shape(
  config: ml_collections.ConfigDict, devices: int
) -> dict[str, int]:
  """{axis: size} of the configured mesh on so many devices."""
  shape = {axis: config.mesh[axis] for axis in mesh_lib.AXES}
  rest = math.prod(n for n in shape.values() if n != -1)
  fill = devices // max(rest, 1)
  return {axis: fill if n == -1 else n for axis, n in shape.items()}

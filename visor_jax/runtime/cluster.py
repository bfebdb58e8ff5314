"""Many processes that run as one: finding each other, and waiting in bounds.

Who they are is read from the environment, the first of these that is there:

  explicit    JAX_COORDINATOR_ADDRESS (host:port of process 0),
              JAX_NUM_PROCESSES, JAX_PROCESS_ID
  a cluster   SLURM, GKE, Cloud TPU, Open MPI: what jax knows to read
  none        a single process

They call the roll (roll.py), then jax joins them. From there on its
coordination service carries barriers and short texts, each with a name and a
limit.
"""

import dataclasses
import itertools
import json
import socket

import jax
from jax._src import clusters  # there is no public door to either
from jax._src import distributed
from jax.experimental import multihost_utils
import numpy as np

from visor_jax.runtime import roll_call

EXPLICIT = ('JAX_COORDINATOR_ADDRESS', 'JAX_NUM_PROCESSES', 'JAX_PROCESS_ID')
PATIENCE = 600  # seconds that processes which work in step wait for another

_CLUSTERS = {
  'SLURM_JOB_ID': 'SLURM',
  'KUBERNETES_SERVICE_HOST': 'GKE',
  'OMPI_COMM_WORLD_SIZE': 'Open MPI',
}
# Latency hiding: on TPUs it is on, but for collectives that run beside compute.
_OVERLAP = {
  'XLA_FLAGS': ('xla_gpu_enable_latency_hiding_scheduler',),
  'LIBTPU_INIT_ARGS': (
    'xla_tpu_enable_async_collective_fusion',
    'xla_tpu_enable_async_collective_fusion_fuse_all_gather',
    'xla_tpu_overlap_compute_collective_tc',
    'xla_enable_async_all_gather',
  ),
}
_hosts = {0: socket.gethostname()}  # process -> host, from the roll call
_uses = itertools.count()  # barriers; processes come to them in one order


@dataclasses.dataclass(frozen=True)
class ProcessPlace:
  """Where a process stands among the others.

  Attributes:
    how: it was found.
    address: 'host:port' of process 0.
    count: of processes.
    index: of this one.
    devices: local ids of those it may use; None for all.
  """

  how: str
  address: str = ''
  count: int = 1
  index: int = 0
  devices: tuple[int, ...] | None = None


def find_place(env, patience: int = 300) -> ProcessPlace:
  """Reads the environment.

  Args:
    env: os.environ.
    patience: seconds for names of hosts to be known.

  Raises:
    ValueError: naming the variable that is missing or wrong.
  """
  found = {name: env[name] for name in EXPLICIT if env.get(name)}
  if found == {'JAX_NUM_PROCESSES': '1'}:
    return ProcessPlace('JAX_NUM_PROCESSES=1')
  if found:
    for name in EXPLICIT:
      if name not in found:
        raise ValueError(
          f'{name} is not set beside {" and ".join(found)}; set '
          'all three, or none'
        )
    address, *numbers = found.values()
    try:
      count, index = map(int, numbers)
    except ValueError:
      count = index = -1
    if not 0 <= index < count:
      raise ValueError(
        f'JAX_NUM_PROCESSES is {numbers[0]} and JAX_PROCESS_ID {numbers[1]}; '
        'expected numbers, the second from 0 to below the first'
      )
    if not address.rpartition(':')[2].isdigit():
      raise ValueError(
        f'JAX_COORDINATOR_ADDRESS is {address}; expected host:port of process 0'
      )
    return ProcessPlace('environment', address, count, index)
  _whole(env)
  pod = 'KUBERNETES_SERVICE_HOST' in env
  if not pod or {'JOB_COMPLETION_INDEX', 'TPU_WORKER_HOSTNAMES'} & env.keys():
    address, count, index, devices = (
      clusters.ClusterEnv.auto_detect_unset_distributed_params(
        None, None, None, None, None, patience
      )
    )
    if count is not None:
      how = next((v for k, v in _CLUSTERS.items() if k in env), 'Cloud TPU')
      return ProcessPlace(
        how, address, count, index, devices and tuple(devices)
      )
  if 'JOB_COMPLETION_INDEX' in env:
    raise ValueError(
      'this pod is one of an indexed job, but JAX_COORDINATOR_ADDRESS is not '
      'set; launch/gke.py sets it. JAX_NUM_PROCESSES=1 runs it alone'
    )
  if ',' in env.get('TPU_WORKER_HOSTNAMES', ''):
    raise ValueError(
      'TPU_WORKER_HOSTNAMES names several hosts, but jax finds '
      "no TPU on this one; install visor_jax with '[tpu]'"
    )
  return ProcessPlace('no cluster')


def _whole(env):
  """What jax would pass over, each process then running alone."""
  if int(env.get('SLURM_NTASKS', 1)) > 1:
    for name in (
      'SLURM_JOB_ID',
      'SLURM_PROCID',
      'SLURM_LOCALID',
      'SLURM_STEP_NODELIST',
    ):
      if name not in env:
        raise ValueError(
          f'SLURM_NTASKS is {env["SLURM_NTASKS"]}, but {name} is not set; '
          'start with srun, as launch/slurm.sh does. JAX_NUM_PROCESSES=1 '
          'runs alone'
        )
  if ',' in env.get('TPU_WORKER_HOSTNAMES', '') and 'TPU_WORKER_ID' not in env:
    raise ValueError(
      'TPU_WORKER_HOSTNAMES names several hosts, but TPU_WORKER_ID is not set'
    )


def join(place: ProcessPlace, facts: dict, patience: int = 300) -> None:
  """Joins the others; before anything touches a device.

  Args:
    place: of `find`.
    facts: {what: value} that must be the same everywhere; JSON.
    patience: seconds to wait for the others.

  Raises:
    TimeoutError: naming the processes that did not come.
    ValueError: naming those that differ, and in what.
  """
  if place.count == 1:
    return
  _hosts.update(
    roll_call.roll_call(
      place.address, place.count, place.index, facts, patience
    )
  )
  local = roll_call.loopback(place.address)
  jax.distributed.initialize(
    place.address,
    place.count,
    place.index,
    place.devices and list(place.devices),
    cluster_detection_method='deactivate',
    initialization_timeout=patience,
    coordinator_bind_address=place.address if local else None,
    shutdown_timeout_seconds=60,
  )


def set_overlap_flags(env) -> None:
  """Tells XLA to send while it computes; before it is used.

  Args:
    env: os.environ, where what is said already stays.
  """
  for name, options in _OVERLAP.items():
    said = env.get(name, '')
    new = [f'--{option}=true' for option in options if option not in said]
    env[name] = ' '.join([said, *new]).strip()


# Once they run ----------------------------------------------------------------


def is_primary() -> bool:
  """Whether this is process 0, which writes and talks for all."""
  return jax.process_index() == 0


def hosts() -> tuple[str, ...]:
  """Names of the hosts, each once, that of process 0 first."""
  return tuple(dict.fromkeys(_hosts.values()))


def host() -> str:
  """The name of this process's host."""
  return _hosts[jax.process_index()]


def exchange(
  what: str, text: str = '', patience: float = PATIENCE
) -> list[str]:
  """A short text of every process, in order; also a barrier.

  Args:
    what: it is for, the same in all processes.
    text: of this process.
    patience: seconds to wait for the others.

  Raises:
    TimeoutError: naming what was waited for, and who did not come.
    RuntimeError: naming who waits for something else.
  """
  if jax.process_count() == 1:
    return [text]
  client, name = distributed.global_state.client, f'visor_jax/{next(_uses)}'
  client.key_value_set(
    f'{name}/{jax.process_index():06d}', json.dumps([what, text])
  )
  late = False
  try:
    client.wait_at_barrier(name, int(1000 * patience))
  except jax.errors.JaxRuntimeError:
    late = True
  came = {
    int(key.rpartition('/')[2]): json.loads(value)
    for key, value in client.key_value_dir_get(name)
  }
  who = lambda some: ', '.join(f'process {i} on {_hosts[i]}' for i in some)
  if late:
    missing = [i for i in range(jax.process_count()) if i not in came]
    raise TimeoutError(
      f'"{what}": after {patience:.0f} seconds without '
      + (who(missing) or 'the last one the others had gone')
    )
  other = [i for i in came if came[i][0] != what]
  if other:
    raise RuntimeError(f'"{what}": {who(other)} is at "{came[other[0]][0]}"')
  return [came[i][1] for i in sorted(came)]


def all_or_raise(what: str, act):
  """`act()` in every process: all go on with it, or all stop.

  Raises:
    ValueError: what any of them raised, in one text.
  """
  if jax.process_count() == 1:
    return act()
  found, error = None, ''
  try:
    found = act()
  except (OSError, ValueError) as e:
    error = str(e)
  errors = dict.fromkeys(filter(None, exchange(what, error)))
  if errors:
    raise ValueError('\n'.join(errors))
  return found


def allgather_json(value) -> list:
  """What every process has, in order; any JSON, by way of the devices."""
  if jax.process_count() == 1:
    return [value]
  text = json.dumps(value).encode()
  sizes = multihost_utils.process_allgather(np.int32(len(text)))
  room = 1 << int(sizes.max() - 1).bit_length()  # few sizes, few programs
  found = multihost_utils.process_allgather(
    np.frombuffer(text.ljust(room), np.uint8)
  )
  return [json.loads(bytes(row[:n])) for row, n in zip(found, sizes)]

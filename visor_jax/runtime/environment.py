"""Which of how many processes is this? Read from the environment.

The first of these that is there counts:

  explicit    JAX_COORDINATOR_ADDRESS (host:port of process 0),
              JAX_NUM_PROCESSES, JAX_PROCESS_ID
  a cluster   SLURM, GKE, Cloud TPU, Open MPI: what jax can read
  none        a single process

VISOR_JOB is a word that only processes of one start of a job share, so that a
process of another is a stranger to them; launchers set it. Under SLURM it is
the number of the step, where nobody sets it.
"""

from collections.abc import Mapping
import dataclasses
import re

from visor_jax.runtime import errors
from visor_jax.runtime import jax_private

EXPLICIT = ('JAX_COORDINATOR_ADDRESS', 'JAX_NUM_PROCESSES', 'JAX_PROCESS_ID')

_CLUSTERS = {
  'SLURM_JOB_ID': 'SLURM',
  'KUBERNETES_SERVICE_HOST': 'GKE',
  'OMPI_COMM_WORLD_SIZE': 'Open MPI',
}
_JOB = 'VISOR_JOB'
_STEP = ('SLURM_JOB_ID', 'SLURM_STEP_ID')
_SRUN = (
  'SLURM_JOB_ID',
  'SLURM_PROCID',
  'SLURM_LOCALID',
  'SLURM_STEP_NODELIST',
)


@dataclasses.dataclass(frozen=True)
class Process:
  """This process among the others.

  Attributes:
    source: what said so, as 'SLURM' or 'no cluster'.
    coordinator: 'host:port' of process 0; '' where there is no other.
    count: number of processes.
    index: number of this one, from 0.
    devices: local ids of those it may use; None for all.
    job: a word that only processes of one start of a job share; '' without.
  """

  source: str
  coordinator: str = ''
  count: int = 1
  index: int = 0
  devices: tuple[int, ...] | None = None
  job: str = ''


def find_process(env: Mapping[str, str], timeout: int = 300) -> Process:
  """Reads the environment.

  Args:
    env: os.environ.
    timeout: seconds for names of hosts to be known.

  Raises:
    ValueError: naming the variable that is missing or wrong.
  """
  explicit = {name: env[name] for name in EXPLICIT if env.get(name)}
  if explicit == {'JAX_NUM_PROCESSES': '1'}:
    return Process('JAX_NUM_PROCESSES=1')
  if explicit:
    return dataclasses.replace(_from_variables(explicit), job=env.get(_JOB, ''))
  _check_complete(env)
  process = _from_cluster(env, timeout) or _alone(env)
  step = '.'.join(env[name] for name in _STEP if name in env)
  return dataclasses.replace(process, job=env.get(_JOB, step))


def _from_variables(explicit: dict[str, str]) -> Process:
  """The process that the variables in EXPLICIT name."""
  for name in EXPLICIT:
    if name not in explicit:
      raise errors.Refusal(
        f'{name} is not set beside {" and ".join(explicit)}; set '
        'all three, or none'
      )
  address, *numbers = (explicit[name] for name in EXPLICIT)
  try:
    count, index = map(int, numbers)
  except ValueError:
    count = index = -1
  if not 0 <= index < count:
    raise errors.Refusal(
      f'JAX_NUM_PROCESSES (--processes) is {numbers[0]} and JAX_PROCESS_ID '
      f'(--process) {numbers[1]}; expected whole numbers, the second from 0 to '
      'below the first'
    )
  host, _, port = address.rpartition(':')
  if not (host and re.fullmatch('[0-9]{1,5}', port) and 0 < int(port) < 65536):
    raise errors.Refusal(
      f'JAX_COORDINATOR_ADDRESS (--coordinator) is {address}; expected '
      'host:port of process 0, a port from 1 to 65535'
    )
  return Process('environment', address, count, index)


def _check_complete(env: Mapping[str, str]) -> None:
  """Refuses what jax would pass over, each process then running alone."""
  tasks = env.get('SLURM_NTASKS', '1')
  if not tasks.isdecimal():
    raise errors.Refusal(f'SLURM_NTASKS is {tasks}; expected a whole number')
  if int(tasks) > 1:
    for name in _SRUN:
      if name not in env:
        raise errors.Refusal(
          f'SLURM_NTASKS is {tasks}, but {name} is not set; '
          'start with srun, as launch/slurm.sh does. JAX_NUM_PROCESSES=1 '
          'runs alone'
        )
  if _many_tpu_hosts(env) and 'TPU_WORKER_ID' not in env:
    raise errors.Refusal(
      'TPU_WORKER_HOSTNAMES names several hosts, but TPU_WORKER_ID is not set'
    )


def _from_cluster(env: Mapping[str, str], timeout: int) -> Process | None:
  """The process that a cluster jax can read says; None without one."""
  pod = 'KUBERNETES_SERVICE_HOST' in env
  if pod and not {'JOB_COMPLETION_INDEX', 'TPU_WORKER_HOSTNAMES'} & env.keys():
    return None  # a pod that is one of none, as a notebook's
  address, count, index, devices = jax_private.detect_cluster(timeout)
  if address is None or count is None or index is None:
    return None
  names = (name for key, name in _CLUSTERS.items() if key in env)
  return Process(
    next(names, 'Cloud TPU'),
    address,
    count,
    index,
    tuple(devices) if devices else None,
  )


def _alone(env: Mapping[str, str]) -> Process:
  """A single process, unless the environment speaks of others."""
  if 'JOB_COMPLETION_INDEX' in env:
    raise errors.Refusal(
      'this pod is one of an indexed job, but JAX_COORDINATOR_ADDRESS is not '
      'set; launch/gke.py sets it. JAX_NUM_PROCESSES=1 runs it alone'
    )
  if _many_tpu_hosts(env):
    raise errors.Refusal(
      'TPU_WORKER_HOSTNAMES names several hosts, but jax finds '
      "no TPU on this one; install visor_jax with '[tpu]'"
    )
  return Process('no cluster')


def _many_tpu_hosts(env: Mapping[str, str]) -> bool:
  return ',' in env.get('TPU_WORKER_HOSTNAMES', '')

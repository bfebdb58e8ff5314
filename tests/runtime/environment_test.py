"""A process knows which of how many it is, or is told what is missing."""

import os

import pytest

from visor_jax.runtime import environment

CLUSTERS = ('SLURM', 'JAX', 'KUBERNETES', 'TPU', 'OMPI', 'JOB_', 'MEGASCALE')


@pytest.fixture
def env(monkeypatch):
  """Sets the environment; nothing of a cluster that this test runs in."""
  for name in [n for n in os.environ if n.startswith(CLUSTERS)]:
    monkeypatch.delenv(name)

  def put(**values):
    for name, value in values.items():
      monkeypatch.setenv(name, value)
    return os.environ

  return put


EXPLICIT = dict(
  JAX_COORDINATOR_ADDRESS='a:1234', JAX_NUM_PROCESSES='4', JAX_PROCESS_ID='3'
)
SLURM = dict(
  SLURM_JOB_ID='7',
  SLURM_NTASKS='16',
  SLURM_PROCID='9',
  SLURM_LOCALID='1',
  SLURM_STEP_NODELIST='node[003-004]',
)


def test_a_laptop_is_alone(env):
  assert environment.find_process(env()) == environment.Process('no cluster')


def test_what_is_given_counts_before_any_cluster(env):
  assert environment.find_process(
    env(**SLURM, **EXPLICIT)
  ) == environment.Process('environment', 'a:1234', 4, 3)
  env(JAX_NUM_PROCESSES='1', JAX_COORDINATOR_ADDRESS='', JAX_PROCESS_ID='')
  assert environment.find_process(os.environ).count == 1


def test_slurm_is_found(env):
  """A process for each GPU: the second of its node, the ninth of all."""
  process = environment.find_process(env(**SLURM))
  assert (process.source, process.count, process.index) == ('SLURM', 16, 9)
  assert process.coordinator.startswith('node003:') and process.devices == (1,)


@pytest.mark.parametrize('name', EXPLICIT)
def test_a_missing_variable_is_named(env, name):
  env(**{k: v for k, v in EXPLICIT.items() if k != name})
  with pytest.raises(ValueError, match=f'{name} is not'):
    environment.find_process(os.environ)


@pytest.mark.parametrize(
  'name,value',
  [
    ('JAX_PROCESS_ID', '4'),
    ('JAX_PROCESS_ID', '-1'),
    ('JAX_NUM_PROCESSES', 'two'),
    ('JAX_COORDINATOR_ADDRESS', 'a'),
  ],
)
def test_a_wrong_variable_is_named(env, name, value):
  with pytest.raises(ValueError, match=f'{name}.* {value}'):
    environment.find_process(env(**EXPLICIT | {name: value}))


@pytest.mark.parametrize('name', ['SLURM_STEP_NODELIST', 'SLURM_PROCID'])
def test_many_tasks_without_srun_are_not_run_alone(env, name):
  """Each would train the whole model in the same workdir."""
  env(**{k: v for k, v in SLURM.items() if k != name})
  with pytest.raises(ValueError, match=f'{name} is not set; start with srun'):
    environment.find_process(os.environ)


def test_a_shell_on_a_node_is_alone(env):
  assert (
    environment.find_process(env(SLURM_JOB_ID='7', SLURM_NTASKS='1')).count == 1
  )


def test_a_pod_of_many_is_not_run_alone(env):
  env(KUBERNETES_SERVICE_HOST='10.0.0.1')
  assert environment.find_process(os.environ).count == 1  # a notebook
  with pytest.raises(ValueError, match='JAX_COORDINATOR_ADDRESS is not set'):
    environment.find_process(env(JOB_COMPLETION_INDEX='0'))


def test_a_worker_of_a_tpu_slice_is_not_run_alone(env):
  env(TPU_WORKER_HOSTNAMES='a,b')
  with pytest.raises(ValueError, match='TPU_WORKER_ID is not set'):
    environment.find_process(os.environ)
  with pytest.raises(ValueError, match='no TPU on this one'):
    environment.find_process(env(TPU_WORKER_ID='0'))

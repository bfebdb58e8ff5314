"""Many processes find each other, or say who or what is missing."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import pytest

from visor_jax.runtime import cluster
from visor_jax.runtime import roll_call

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


def test_xla_is_told_to_send_while_it_computes():
  """Once, and not against what the user says."""
  env = {'XLA_FLAGS': '--xla_gpu_enable_latency_hiding_scheduler=false'}
  cluster.set_overlap_flags(env)
  assert env['XLA_FLAGS'] == ('--xla_gpu_enable_latency_hiding_scheduler=false')
  assert '--xla_tpu_overlap_compute_collective_tc=true' in (
    env['LIBTPU_INIT_ARGS'].split()
  )
  before = dict(env)
  cluster.set_overlap_flags(env)
  assert env == before


# Finding the place ------------------------------------------------------------

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
  assert cluster.find_place(env()) == cluster.ProcessPlace('no cluster')


def test_what_is_given_counts_before_any_cluster(env):
  assert cluster.find_place(env(**SLURM, **EXPLICIT)) == cluster.ProcessPlace(
    'environment', 'a:1234', 4, 3
  )
  env(JAX_NUM_PROCESSES='1', JAX_COORDINATOR_ADDRESS='', JAX_PROCESS_ID='')
  assert cluster.find_place(os.environ).count == 1


def test_slurm_is_found(env):
  """A process for each GPU: the second of its node, the ninth of all."""
  found = cluster.find_place(env(**SLURM))
  assert (found.how, found.count, found.index) == ('SLURM', 16, 9)
  assert found.address.startswith('node003:') and found.devices == (1,)


@pytest.mark.parametrize('name', EXPLICIT)
def test_a_missing_variable_is_named(env, name):
  with pytest.raises(ValueError, match=f'{name} is not'):
    cluster.find_place(env(**{k: v for k, v in EXPLICIT.items() if k != name}))


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
    cluster.find_place(env(**EXPLICIT | {name: value}))


@pytest.mark.parametrize('name', ['SLURM_STEP_NODELIST', 'SLURM_PROCID'])
def test_many_tasks_without_srun_are_not_run_alone(env, name):
  """Each would train the whole model in the same workdir."""
  with pytest.raises(ValueError, match=f'{name} is not set; start with srun'):
    cluster.find_place(env(**{k: v for k, v in SLURM.items() if k != name}))


def test_a_shell_on_a_node_is_alone(env):
  assert cluster.find_place(env(SLURM_JOB_ID='7', SLURM_NTASKS='1')).count == 1


def test_a_pod_of_many_is_not_run_alone(env):
  env(KUBERNETES_SERVICE_HOST='10.0.0.1')
  assert cluster.find_place(os.environ).count == 1  # a notebook
  with pytest.raises(ValueError, match='JAX_COORDINATOR_ADDRESS is not set'):
    cluster.find_place(env(JOB_COMPLETION_INDEX='0'))


def test_a_worker_of_a_tpu_slice_is_not_run_alone(env):
  env(TPU_WORKER_HOSTNAMES='a,b')
  with pytest.raises(ValueError, match='TPU_WORKER_ID is not set'):
    cluster.find_place(os.environ)
  with pytest.raises(ValueError, match='no TPU on this one'):
    cluster.find_place(env(TPU_WORKER_ID='0'))


# The roll call ----------------------------------------------------------------

FACTS = {'code': 'abc', 'config.rows': [1, 2]}


@pytest.fixture
def call():
  """Processes as threads: {index: (count, facts)} -> {index: result}."""

  def run(processes, patience=20.0, before=None):
    with socket.create_server(('127.0.0.1', 0)) as free:
      address = f'127.0.0.1:{free.getsockname()[1]}'
    found = {}

    def one(number, index, count, facts):
      try:
        found[number] = roll_call.roll_call(
          address, count, index, facts, patience
        )
      except (TimeoutError, ValueError) as e:
        found[number] = str(e)

    threads = [
      threading.Thread(target=one, args=(i, *p))
      for i, p in enumerate(processes)
    ]
    for thread in threads:
      thread.start()
      if before:
        before(address)
    for thread in threads:
      thread.join()
    return list(found.values())

  return run


def test_all_are_here(call):
  found = call([(2, 3, FACTS), (0, 3, FACTS), (1, 3, FACTS)])
  assert found == [dict.fromkeys(range(3), socket.gethostname())] * 3


def test_a_stranger_at_the_port_is_not_listened_to(call):
  def knock(address):
    host, port = address.split(':')
    for what in (b'GET / HTTP/1.1\r\n', b'{}\n', b'[]\n', b''):
      try:
        with socket.create_connection((host, int(port)), timeout=1) as line:
          line.sendall(what)
      except OSError:
        time.sleep(0.1)

  found = call([(0, 2, FACTS), (1, 2, FACTS)], before=knock)
  assert found == [dict.fromkeys(range(2), socket.gethostname())] * 2


def test_who_does_not_come_is_named(call):
  """Of 256 hosts, which one must be looked at?"""
  found = call([(0, 4, FACTS), (2, 4, FACTS)], patience=1.0)
  assert len(found) == 2
  for text in found:
    assert 'of 4 processes these did not come: 1, 3' in text
    assert socket.gethostname() in text


def test_a_first_process_that_does_not_come_is_named(call):
  (text,) = call([(1, 2, FACTS)], patience=0.5)
  assert 'process 1 of 2 on' in text and 'process 0 does not answer' in text


@pytest.mark.parametrize(
  'count,facts,words',
  [
    (2, FACTS | {'code': 'abd'}, "code is 'abd' instead of 'abc'"),
    (2, FACTS | {'config.rows': [1]}, 'config.rows is [1] instead of [1, 2]'),
    (2, FACTS | {'new': 1}, 'new is 1 instead of None'),
    (3, FACTS, 'one of 3'),
  ],
)
def test_who_differs_is_named_to_all(call, count, facts, words):
  found = call([(0, 2, FACTS), (1, count, facts)])
  assert found[0] == found[1] and words in found[0]
  assert f'process 1 on {socket.gethostname()}' in found[0]


def test_two_of_one_number_are_named(call):
  """Left over from a job that was thought dead."""
  found = call([(0, 3, FACTS), (1, 3, FACTS), (1, 3, FACTS)])
  assert any('process 1 came twice' in text for text in found)


# Two processes ----------------------------------------------------------------


def test_two_processes_share_wait_and_refuse(tmp_path):
  """What only real processes can show; see tests/two.py."""
  script = pathlib.Path(__file__).with_name('two.py')
  with socket.create_server(('127.0.0.1', 0)) as free:
    port = free.getsockname()[1]
  running = [
    subprocess.Popen(
      [sys.executable, script, tmp_path],
      text=True,
      stdout=subprocess.PIPE,
      env=os.environ
      | dict(
        JAX_COORDINATOR_ADDRESS=f'127.0.0.1:{port}',
        JAX_PLATFORMS='cpu',
        JAX_NUM_CPU_DEVICES='1',
        JAX_NUM_PROCESSES='2',
        JAX_PROCESS_ID=str(index),
      ),
    )
    for index in range(2)
  ]
  first, second = (
    json.loads(p.communicate(timeout=120)[0].splitlines()[-1]) for p in running
  )
  assert first.pop('first') and not second.pop('first')
  assert '"lunch": after 1 seconds without process 1 on' in first.pop('late')
  assert 'the others had gone' in second.pop('late')
  assert first.pop('lost') == '"at 0": process 1 on {} is at "at 1"'.format(
    socket.gethostname()
  )
  assert '"at 1": process 0 on' in second.pop('lost')
  assert first == second
  assert first['shared'] == ['text 0', 'text 1']
  assert first['gathered'] == [[], [{'index': 1, 'score': 0.1}] * 50]
  assert "invalid literal for int() with base 10: '7x'" in first['agreed']
  assert 'is {"a": "1"}, that of host' in first['data']
  assert first['claimed'] == 'in 0: a text'
  assert 'is not shared: host' in first['apart']
  assert 'is in use by process' in first['busy']

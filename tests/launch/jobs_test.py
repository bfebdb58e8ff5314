"""Job files for clusters that are not here: what they would run.

SLURM and gcloud are played by small scripts, so that restarts are real.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest
import yaml

LAUNCH = pathlib.Path(__file__).parents[2] / 'launch'
JOB = ('--config=a.py:size=7b', '--workdir=/shared/a b')
POD = ('--name=pod', '--zone=here', '--image=image', '--mount=/shared')


def run(*command, path=None, **env):
  done = subprocess.run(
    list(map(str, command)),
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    timeout=300,
    env={k: v for k, v in os.environ.items() if 'SLURM' not in k}
    | env
    | ({'PATH': f'{path}:{os.environ["PATH"]}'} if path else {}),
  )
  return done.returncode, done.stdout


@pytest.mark.parametrize('file', ['tpu_pod.sh', 'slurm.sh'])
def test_shell_is_sound(file):
  assert run('bash', '-n', LAUNCH / file) == (0, '')
  if shutil.which('shellcheck'):
    assert run('shellcheck', LAUNCH / file) == (0, '')


@pytest.mark.parametrize(
  'file', ['tpu_pod.sh', 'slurm.sh', 'gke.py', 'local.py']
)
def test_help_says_how_to_start(file):
  code, out = run(LAUNCH / file, '--help')
  assert code == 0 and f'launch/{file}' in out and '--config=FILE' in out


# SLURM ------------------------------------------------------------------------


@pytest.fixture
def slurm(tmp_path):
  """Runs slurm.sh where srun ends with these codes, one after the other."""

  def start(*codes, **env):
    (tmp_path / 'codes').write_text(''.join(f'{c}\n' for c in codes))
    for name in ('srun', 'scontrol'):
      (tmp_path / name).write_text(f'''#!/bin/bash
printf '%q ' {name} "$@" >>"{tmp_path}/calls"; echo >>"{tmp_path}/calls"
[[ {name} == scontrol ]] && exit
code=$(head -n 1 "{tmp_path}/codes"); sed -i 1d "{tmp_path}/codes"
exit "$code"
''')
      (tmp_path / name).chmod(0o755)
    code, out = run(
      LAUNCH / 'slurm.sh', *JOB, path=tmp_path, SLURM_JOB_ID='7', **env
    )
    calls = (tmp_path / 'calls').read_text().splitlines()
    return code, out, [shlex.split(line) for line in calls]

  return start


@pytest.mark.parametrize(
  'codes,want',
  [([0], 0), ([134, 137, 0], 0), ([1], 1), ([134, 1], 1), ([134] * 3, 134)],
)
def test_slurm_starts_again_what_died(slurm, codes, want):
  code, out, calls = slurm(*codes, VISOR_RESTARTS='2')
  assert code == want and len(calls) == len(codes), out
  assert calls[0] == [
    'srun',
    '--kill-on-bad-exit=1',
    '--label',
    'python',
    '-m',
    'visor_jax.main',
    *JOB,
  ]


@pytest.mark.parametrize('before', ['0', '10', '11', '400'])
def test_slurm_queues_again_what_was_told_to_stop(slurm, before):
  """However often: time limits and preemptions are no deaths."""
  code, _, calls = slurm(75, SLURM_RESTART_COUNT=before)
  assert code == 75 and calls[-1] == ['scontrol', 'requeue', '7']


def test_slurm_starts_what_died_again_whatever_was_taken_away_before(slurm):
  code, _, calls = slurm(9, 9, 9, SLURM_RESTART_COUNT='11', VISOR_RESTARTS='2')
  assert code == 9 and len(calls) == 3
  code, out = run(
    LAUNCH / 'slurm.sh', *JOB, SLURM_JOB_ID='7', VISOR_RESTARTS='-1'
  )
  assert code == 2 and "VISOR_RESTARTS is '-1'" in out


def test_slurm_says_what_would_run_or_is_missing():
  code, out = run(LAUNCH / 'slurm.sh', '--dry-run', '--', *JOB)
  assert code == 0 and shlex.split(out.splitlines()[1])[-2:] == [*JOB]
  code, out = run(LAUNCH / 'slurm.sh', *JOB)
  assert code == 2 and 'SLURM_JOB_ID' in out
  code, out = run(LAUNCH / 'slurm.sh', JOB[0])
  assert code == 2 and '--workdir' in out


# TPU --------------------------------------------------------------------------


@pytest.fixture
def gcloud(tmp_path):
  """Runs tpu_pod.sh with slices in these states, workers with these codes."""

  def start(states, codes, *options):
    (tmp_path / 'states').write_text(''.join(f'{s}\n' for s in states))
    (tmp_path / 'codes').write_text(''.join(f'{c}\n' for c in codes))
    (tmp_path / 'sleep').write_text('#!/bin/bash\n')
    (tmp_path / 'gcloud').write_text(f'''#!/bin/bash
next() {{ head -n 1 "{tmp_path}/$1"; sed -i 1d "{tmp_path}/$1"; }}
if [[ $* == *describe* ]]; then next states; exit; fi
printf '%q ' "$@" >>"{tmp_path}/calls"; echo >>"{tmp_path}/calls"
[[ $* == *" ssh "* ]] || exit 0
code=$(next codes)
echo "visor_jax ended with $code"; [[ $code == 0 ]]
''')
    for name in ('gcloud', 'sleep'):
      (tmp_path / name).chmod(0o755)
    code, out = run(
      LAUNCH / 'tpu_pod.sh',
      *POD,
      '--type=v5litepod-16',
      *options,
      '--',
      *JOB,
      path=tmp_path,
    )
    calls = (tmp_path / 'calls').read_text().splitlines()
    return code, out, [' '.join(shlex.split(c)[2:5]) for c in calls]

  return start


SSH, SCP = 'tpu-vm ssh', 'tpus tpu-vm'


def test_a_slice_is_made_waited_for_and_used(gcloud):
  code, out, calls = gcloud(['', 'CREATING', 'READY'], [0])
  assert code == 0 and 'waiting for pod' in out
  assert calls == ['tpu-vm create pod', 'tpu-vm ssh pod']


def test_a_queued_slice_that_was_taken_away_is_asked_for_again(gcloud):
  code, out, calls = gcloud(
    [
      'ACTIVE',
      'SUSPENDING',
      'SUSPENDED',
      '',
      'WAITING_FOR_RESOURCES',
      'ACTIVE',
    ],
    [255, 0],
    '--queued',
    '--spot',
  )
  assert code == 0, out
  assert calls == [
    'tpu-vm ssh pod',
    'queued-resources delete pod',
    'queued-resources create pod',
    'tpu-vm ssh pod',
  ]


@pytest.mark.parametrize(
  'codes,want', [([134, 0], 0), ([1], 1), ([134] * 2, 2)]
)
def test_a_pod_starts_again_what_died(gcloud, codes, want):
  code, out, calls = gcloud(['READY'] * 9, codes, '--restarts=1')
  assert code == want and len(calls) == len(codes), out


def test_a_pod_says_what_would_run_or_is_missing():
  code, out = run(
    LAUNCH / 'tpu_pod.sh',
    *POD,
    '--type=v6e-8',
    '--queued',
    '--spot',
    '--mount=/shared',
    '--dry-run',
    '--',
    *JOB,
  )
  create, ssh = map(shlex.split, out.splitlines())
  assert code == 0 and create[:6] == [
    'gcloud',
    'compute',
    'tpus',
    'queued-resources',
    'create',
    'pod',
  ]
  assert {
    '--runtime-version=v2-alpha-tpuv6e',
    '--spot',
    '--zone=here',
    '--accelerator-type=v6e-8',
    '--node-id=pod',
  } <= {*create}
  inner = next(a for a in ssh if a.startswith('--command='))
  assert '--env=VISOR_JOB=pod-0-' in inner
  assert '--workdir=/shared/a\\ b' in inner and '--volume=/shared:' in inner
  assert run('bash', '-n', '-c', inner.partition('=')[2]) == (0, '')
  for missing in POD:
    code, out = run(
      LAUNCH / 'tpu_pod.sh',
      *(f for f in POD if f != missing),
      '--type=v6e-8',
      '--',
      *JOB,
    )
    assert code == 2 and missing.partition('=')[0] in out


# GKE --------------------------------------------------------------------------

# What the JobSet v1alpha2 and Job v1 schemas ask for, as a shape: types of what
# must be there. Unknown fields are refused by the last test below.
SHAPE = {
  'apiVersion': 'jobset.x-k8s.io/v1alpha2',
  'kind': 'JobSet',
  'metadata': {'name': str},
  'spec': {
    'failurePolicy': {
      'maxRestarts': int,
      'rules': [
        {
          'name': str,
          'action': 'FailJobSet',
          'onJobFailureReasons': ['PodFailurePolicy'],
        }
      ],
    },
    'replicatedJobs': [
      {
        'name': str,
        'replicas': int,
        'template': {
          'spec': {
            'parallelism': int,
            'completions': int,
            'backoffLimit': 0,
            'completionMode': 'Indexed',
            'podFailurePolicy': {
              'rules': [
                {
                  'action': 'FailJob',
                  'onExitCodes': {
                    'containerName': str,
                    'operator': 'In',
                    'values': [1],
                  },
                }
              ]
            },
            'template': {
              'spec': {
                'restartPolicy': 'Never',
                'nodeSelector': {},
                'terminationGracePeriodSeconds': int,
                'containers': [
                  {
                    'name': str,
                    'image': str,
                    'args': [],
                    'env': [],
                    'ports': [{'containerPort': int}],
                    'resources': {'limits': {}},
                    'volumeMounts': [{'name': str, 'mountPath': str}] * 2,
                  }
                ],
                'volumes': [
                  {'name': str, 'persistentVolumeClaim': {'claimName': str}},
                  {'name': str, 'emptyDir': {'medium': 'Memory'}},
                ],
              }
            },
          }
        },
      }
    ],
  },
}


def fits(actual, shape, where=''):
  """Empty shapes fit any content."""
  if isinstance(shape, dict):
    assert isinstance(actual, dict), where
    assert not shape or where == '/metadata' or actual.keys() == shape.keys(), (
      where
    )
    for key in shape:
      fits(actual[key], shape[key], f'{where}/{key}')
  elif isinstance(shape, list):
    assert isinstance(actual, list) and (
      not shape or len(actual) == len(shape)
    ), where
    for a, b in zip(actual, shape):
      fits(a, b, where)
  elif isinstance(shape, type):
    assert type(actual) is shape, where
  else:
    assert actual == shape, where


def gke(*options):
  """The manifest of a dry run."""
  code, out = run(
    sys.executable,
    LAUNCH / 'gke.py',
    '--name=visor-a',
    '--image=image',
    '--claim=disk',
    *options,
    '--dry-run',
    '--',
    *JOB,
  )
  assert code == 0, out
  assert out.startswith("kubectl apply --filename=- <<'END'\n")
  return yaml.safe_load(out[out.index('{') : out.index('\nEND')])


TPU = ('--tpu=tpu-v5-lite-podslice', '--topology=16x16')
GPU = ('--gpu=nvidia-h100-80gb', '--hosts=4')


@pytest.mark.parametrize(
  'options,hosts,limits',
  [
    (TPU, 64, {'google.com/tpu': 4}),
    (GPU, 4, {'nvidia.com/gpu': 8}),
    (
      ('--tpu=tpu-v5p-slice', '--topology=4x4x4', '--slices=2'),
      16,
      {'google.com/tpu': 4},
    ),
  ],
)
def test_a_manifest_has_what_jobset_needs(options, hosts, limits):
  actual = gke(*options)
  fits(actual, SHAPE)
  (workers,) = actual['spec']['replicatedJobs']
  job = workers['template']['spec']
  (container,) = job['template']['spec']['containers']
  assert job['parallelism'] == job['completions'] == hosts
  assert workers['replicas'] == (2 if '--slices=2' in options else 1)
  assert container['args'] == [*JOB]
  assert container['resources']['limits'] == limits
  volumes = {v['name'] for v in job['template']['spec']['volumes']}
  assert {m['name'] for m in container['volumeMounts']} == volumes
  (rule,) = job['podFailurePolicy']['rules']
  assert rule['onExitCodes']['containerName'] == container['name']


def test_each_start_of_a_job_has_a_word_of_its_own():
  """What is left of an older one is a stranger to it."""
  (workers,) = gke(*TPU)['spec']['replicatedJobs']
  spec = workers['template']['spec']['template']['spec']
  start, word = spec['containers'][0]['env']
  assert 'restart-attempt' in json.dumps(start)
  assert word == {'name': 'VISOR_JOB', 'value': f'visor-a-$({start["name"]})'}


@pytest.mark.parametrize(
  'flags',
  [
    ('--workdir=hdfs://host/run',),
    ('--workdir=runs/a',),
    ('--workdir=/home/me/run',),
    ('--workdir=/shared2/run',),
    ('--workdir=/shared/../run',),
    ('--workdir', '/home/me/run'),
    ('--workdir=/shared/run', '--workdir=/home/me/run'),
  ],
)
def test_a_workdir_that_hosts_do_not_share_is_refused(flags):
  jobs = (
    (LAUNCH / 'gke.py', '--name=a', '--image=i', '--claim=c', *TPU),
    (LAUNCH / 'tpu_pod.sh', *POD, '--type=v6e-8'),
  )
  for job in jobs:
    code, out = run(*job, '--dry-run', '--', '--config=a.py', *flags)
    assert code == 2 and f'--workdir={flags[-1].rpartition("=")[2]}' in out
    assert '/shared' in out or 'nor gs:// nor s3://; mount' in out


@pytest.mark.parametrize('workdir', ['gs://bucket/run', 's3://bucket/run'])
def test_hosts_share_buckets_without_a_disk(workdir):
  flags = ('--dry-run', '--', '--config=a.py', f'--workdir={workdir}')
  job = (LAUNCH / 'gke.py', '--name=a', '--image=i', *TPU)
  code, out = run(*job, *flags)
  assert code == 0 and workdir in out and 'claim' not in out
  code, out = run(*job, *flags, '--workdir=/shared/run')
  assert code == 2 and 'give --claim' in out
  job = (LAUNCH / 'tpu_pod.sh', *POD[:3], '--type=v6e-8')
  code, out = run(*job, *flags)
  assert code == 0 and workdir in out and '--volume' not in out
  code, out = run(*job, *flags, '--workdir=/shared/run')
  assert code == 2 and 'is not in --mount=' in out


def test_gpu_hosts_are_told_who_they_are():
  """Names as JobSet gives them: <set>-<job>-<index>-<pod>.<set>."""
  (workers,) = gke(*GPU)['spec']['replicatedJobs']
  spec = workers['template']['spec']['template']['spec']
  env = {e['name']: e for e in spec['containers'][0]['env']}
  assert env['JAX_COORDINATOR_ADDRESS']['value'] == (
    f'visor-a-{workers["name"]}-0-0.visor-a:8476'
  )
  assert env['JAX_NUM_PROCESSES']['value'] == '4'
  assert 'completion-index' in json.dumps(env['JAX_PROCESS_ID'])


@pytest.mark.parametrize(
  'options,word',
  [
    (('--tpu=a',), '--topology'),
    (('--tpu=a', '--topology=3x3'), 'divide'),
    ((), '--gpu'),
    (GPU + ('--name=Big_Name',), 'small letters'),
  ],
)
def test_what_cannot_be_is_said(options, word):
  code, out = run(
    LAUNCH / 'gke.py',
    '--name=a',
    '--image=i',
    '--claim=c',
    *options,
    '--dry-run',
    '--',
    *JOB,
  )
  assert code == 2 and word in out


# Images -----------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['cuda', 'tpu'])
def test_an_image_copies_what_is_there(kind):
  text = (LAUNCH / f'Dockerfile.{kind}').read_text()
  copied = {
    word
    for line in re.findall(r'^COPY (.*) \S+$', text, re.M)
    for word in line.split()
  }
  assert {'setup.py', 'visor_jax'} <= copied
  assert all((LAUNCH.parent / name).exists() for name in copied)
  assert f"'{kind}': [" in (LAUNCH.parent / 'setup.py').read_text()
  assert 'ENTRYPOINT ["python", "-m", "visor_jax.main"]' in text


@pytest.mark.parametrize(
  'flags',
  [
    ['--gpu=h100', '--hosts=-3'],
    ['--gpu=h100', '--chips=0'],
    ['--gpu=h100', '--restarts=-1'],
    ['--tpu=v5e', '--topology=0x4'],
    ['--tpu=v5e', '--topology=4x4', '--slices=0'],
    ['--tpu=v5e', '--topology=4x4', '--hosts=2'],
    ['--gpu=h100', '--topology=4x4'],
    ['--gpu=h100', '--slices=2'],
  ],
)
def test_gke_refuses_numbers_that_are_none_or_of_other_chips(flags):
  code, out = run(
    LAUNCH / 'gke.py',
    '--name=a',
    '--image=b',
    '--claim=c',
    '--dry-run',
    *flags,
    '--',
    *JOB,
  )
  assert code == 2 and flags[-1].partition('=')[0] in out

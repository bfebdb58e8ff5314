#!/usr/bin/env python3
"""Writes a JobSet manifest for a Kubernetes cluster and applies it.

  launch/gke.py --name=NAME --image=IMAGE --tpu=tpu-v5-lite-podslice \\
      --topology=16x16 -- --config=FILE --workdir=gs://BUCKET/DIR
  launch/gke.py --name=NAME --image=IMAGE --gpu=nvidia-h100-80gb --hosts=4 ...

One process for each host, on TPU slices or on hosts with GPUs. IMAGE is built
of launch/Dockerfile.tpu or .cuda. The workdir is in a bucket, which the service
account of the pods may write to, or on a volume that all hosts share: --claim
names one (ReadWriteMany), which lies at /shared. When a process dies,
JobSet starts all of them again, up to a limit, but not when a process refused
(code 1).

What follows `--` goes to visor_jax.main. The cluster needs JobSet 0.6 or later.
`kubectl delete jobset NAME` tells a job to save and leave. Applied again under
the same name, a job is left as it is.
"""

import argparse
import json
import math
import pathlib
import re
import shlex
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from launch import workdirs  # noqa: E402

PORT = 8476
MOUNT = '/shared'  # where the claim lies in every pod
GRACE = 600  # seconds to save in, when a pod is told to leave
_ATTEMPT = "metadata.labels['jobset.sigs.k8s.io/restart-attempt']"
_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


def main(argv=None) -> int:
  """Applies the manifest; returns the exit code."""
  argv = sys.argv[1:] if argv is None else argv
  cut = argv.index('--') if '--' in argv else len(argv)
  args, flags = _parse(argv[:cut], argv[cut + 1 :]), argv[cut + 1 :]
  space = [f'--namespace={args.namespace}'] if args.namespace else []
  apply = ['kubectl', 'apply', *space, '--filename=-']
  state = [
    'kubectl',
    'get',
    'jobset',
    args.name,
    *space,
    '--output=jsonpath={.status.terminalState}',
  ]
  text = json.dumps(manifest(args, flags), indent=2)  # JSON is YAML
  if args.dry_run:
    print(f"{shlex.join(apply)} <<'END'\n{text}\nEND")
    if args.wait:
      print(f'until [ "$({shlex.join(state)})" ]; do sleep 30; done')
    return 0
  subprocess.run(apply, input=text, text=True, check=True)
  while args.wait:
    # A cluster that does not answer for a moment has not ended the job.
    ended = subprocess.run(state, stdout=subprocess.PIPE, text=True).stdout
    if ended:
      print(f'{args.name}: {ended}')
      return 0 if ended == 'Completed' else 1
    time.sleep(30)
  return 0


def _parse(argv, flags):
  parser = argparse.ArgumentParser(
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    usage='launch/gke.py [options] -- --config=FILE --workdir=DIR ...',
  )
  add = parser.add_argument
  add('--name', required=True, help='of the job')
  add('--image', required=True)
  add('--claim', default='', help='PersistentVolumeClaim, seen at /shared')
  chips = parser.add_mutually_exclusive_group(required=True)
  chips.add_argument(
    '--tpu', metavar='KIND', help='cloud.google.com/gke-tpu-accelerator'
  )
  chips.add_argument(
    '--gpu', metavar='KIND', help='cloud.google.com/gke-accelerator'
  )
  add('--topology', metavar='AxB', help='of a TPU slice')
  add(
    '--chips',
    type=int,
    metavar='N',
    help='of a host; default 4 for TPUs, 8 for GPUs',
  )
  add('--slices', type=int, metavar='N', help='TPU slices; default 1')
  add('--hosts', type=int, metavar='N', help='hosts with GPUs; default 1')
  add('--restarts', type=int, default=10, metavar='N', help='default 10')
  add('--namespace')
  add('--queue', help='of Kueue, if the cluster has it')
  add('--wait', action='store_true', help='until the job has ended')
  add('--dry-run', action='store_true', help='print what would run')
  args = parser.parse_args(argv)
  fault = workdirs.fault(workdirs.of(flags), MOUNT if args.claim else '')
  if fault:
    parser.error(fault)
  # The longest name made of it is a host's, and its parts are labels of DNS.
  if not re.fullmatch(r'[a-z]([-a-z0-9]{0,38}[a-z0-9])?', args.name):
    parser.error(
      f'--name={args.name}: give at most 40 small letters, digits and dashes'
    )
  for name, kind in (('topology', 'tpu'), ('slices', 'tpu'), ('hosts', 'gpu')):
    if getattr(args, name) is not None and not getattr(args, kind):
      parser.error(f'--{name} goes with --{kind}')
  if args.tpu and not re.fullmatch(
    r'[1-9]\d*(x[1-9]\d*)+', args.topology or ''
  ):
    parser.error('--topology is missing or not like 16x16')
  for name in ('chips', 'slices', 'hosts'):
    if getattr(args, name) is not None and getattr(args, name) < 1:
      parser.error(f'--{name}={getattr(args, name)}: expected at least 1')
  if args.restarts < 0:
    parser.error(f'--restarts={args.restarts}: expected 0 or more')
  args.chips = args.chips or (4 if args.tpu else 8)
  args.slices, args.hosts = args.slices or 1, args.hosts or 1
  if args.tpu:
    total = math.prod(map(int, args.topology.split('x')))
    args.hosts, rest = divmod(total, args.chips)
    if rest:
      parser.error(
        f'--topology={args.topology} has {total} chips, which '
        f'--chips={args.chips} does not divide'
      )
  return args


def manifest(args, flags) -> dict:
  """The JobSet.

  Args:
    args: of the command line.
    flags: of visor_jax.main.
  """
  resource = 'google.com/tpu' if args.tpu else 'nvidia.com/gpu'
  node = (
    {
      'cloud.google.com/gke-tpu-accelerator': args.tpu,
      'cloud.google.com/gke-tpu-topology': args.topology,
    }
    if args.tpu
    else {'cloud.google.com/gke-accelerator': args.gpu}
  )
  container = {
    'name': 'visor-jax',
    'image': args.image,
    'args': list(flags),
    'env': _start(args) + ([] if args.tpu else _env(args)),
    'ports': [{'containerPort': PORT}],
    'resources': {'limits': {resource: args.chips}},
    'volumeMounts': [{'name': 'memory', 'mountPath': '/dev/shm'}],
  }
  pod = {
    'restartPolicy': 'Never',
    'terminationGracePeriodSeconds': GRACE,
    'nodeSelector': node,
    'containers': [container],
    'volumes': [{'name': 'memory', 'emptyDir': {'medium': 'Memory'}}],
  }
  if args.claim:
    container['volumeMounts'].insert(0, {'name': 'shared', 'mountPath': MOUNT})
    claim = {'claimName': args.claim}
    pod['volumes'].insert(0, {'name': 'shared', 'persistentVolumeClaim': claim})
  job = {
    'parallelism': args.hosts,
    'completions': args.hosts,
    'completionMode': 'Indexed',
    'backoffLimit': 0,
    'podFailurePolicy': {
      'rules': [
        {
          'action': 'FailJob',
          'onExitCodes': {
            'containerName': 'visor-jax',
            'operator': 'In',
            'values': [1],
          },
        }
      ]
    },
    'template': {'spec': pod},
  }
  meta = {'name': args.name, 'labels': {'app': 'visor-jax'}}
  if args.queue:
    meta['labels']['kueue.x-k8s.io/queue-name'] = args.queue
  if args.tpu:  # each slice is a node pool
    meta['annotations'] = {
      'alpha.jobset.sigs.k8s.io/exclusive-topology': (
        'cloud.google.com/gke-nodepool'
      )
    }
  return {
    'apiVersion': 'jobset.x-k8s.io/v1alpha2',
    'kind': 'JobSet',
    'metadata': meta,
    'spec': {
      'failurePolicy': {
        'maxRestarts': args.restarts,
        'rules': [
          {
            'name': 'refused',
            'action': 'FailJobSet',
            'onJobFailureReasons': ['PodFailurePolicy'],
          }
        ],
      },
      'replicatedJobs': [
        {'name': 'workers', 'replicas': args.slices, 'template': {'spec': job}}
      ],
    },
  }


def _start(args):
  """A word for this start of the job: what an older one left is a stranger."""
  return [
    {'name': 'START', 'valueFrom': {'fieldRef': {'fieldPath': _ATTEMPT}}},
    {'name': 'VISOR_JOB', 'value': f'{args.name}-$(START)'},
  ]


def _env(args):
  """Who a process is, which GKE tells TPU hosts by itself.

  See visor_jax/runtime/environment.py.
  """
  coordinator = f'{args.name}-workers-0-0.{args.name}:{PORT}'
  return [
    {'name': 'JAX_COORDINATOR_ADDRESS', 'value': coordinator},
    {'name': 'JAX_NUM_PROCESSES', 'value': str(args.hosts)},
    {
      'name': 'JAX_PROCESS_ID',
      'valueFrom': {'fieldRef': {'fieldPath': _INDEX}},
    },
  ]


if __name__ == '__main__':
  sys.exit(main())

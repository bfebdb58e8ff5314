"""One of two processes that try out runtime/cluster.py; see cluster_test.py.

Prints its answers as JSON.
"""

import json
import os
import pathlib
import signal
import sys
import time

import jax

from visor_jax.runtime import claim
from visor_jax.runtime import cluster
from visor_jax.runtime import environment
from visor_jax.runtime import preempt


def refused(act):
  try:
    act()
  except (RuntimeError, TimeoutError, ValueError) as e:
    return str(e)


def write_claimed(path):
  with claim.claim(path):
    claim.write_shared(path / 'file', f'in {jax.process_index()}: a text')
    return (path / 'file').read_text()


def main(root):
  process = environment.find_process(os.environ)
  preempt.install_handler()
  if process.index:  # before it has joined the other
    os.kill(os.getpid(), signal.SIGINT)
  cluster.join(process, {'code': 'abc'}, timeout=60)
  me, answers = jax.process_index(), {}
  answers['first'] = cluster.is_primary()
  answers['shared'] = cluster.exchange('a text', f'text {me}')
  answers['gathered'] = cluster.allgather_json(
    [{'index': 1, 'score': 0.1}] * 50 * me
  )
  answers['agreed'] = refused(
    lambda: cluster.all_or_raise('a choice', lambda: int('7x'[: 1 + me]))
  )
  answers['data'] = refused(lambda: claim.check_same_data(root, {'a': f'{me}'}))
  answers['claimed'] = write_claimed(root / 'a')
  answers['apart'] = refused(lambda: write_claimed(root / f'b{me}'))
  with claim.claim(root / 'a'):
    answers['busy'] = refused(lambda: write_claimed(root / 'a'))
  asked = 0
  while asked < 200 and not preempt.requested():
    asked += 1
    time.sleep(0.05)
  answers['asked before leaving'] = asked
  answers['lost'] = refused(lambda: cluster.exchange(f'at {me}'))
  time.sleep(3 * me)
  answers['late'] = refused(lambda: cluster.exchange('lunch', timeout=1))
  print(json.dumps(answers))


if __name__ == '__main__':
  main(pathlib.Path(sys.argv[1]))

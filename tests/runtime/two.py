"""One of two processes that try out visor_jax.cluster; see cluster_test.py.

Prints what it found as JSON.
"""

import json
import os
import pathlib
import sys
import time

import jax

from visor_jax import config as config_lib
from visor_jax.runtime import cluster
from visor_jax.runtime import workdir


def refused(act):
  try:
    act()
  except (RuntimeError, TimeoutError, ValueError) as e:
    return str(e)


def claim(path):
  with workdir.claim(path, config_lib.default()):
    workdir.write_shared(path / 'file', f'in {jax.process_index()}: a text')
    return (path / 'file').read_text()


def main(root):
  cluster.join(cluster.find_place(os.environ), {'code': 'abc'}, patience=60)
  me, found = jax.process_index(), {}
  found['first'] = cluster.is_primary()
  found['shared'] = cluster.exchange('a text', f'text {me}')
  found['gathered'] = cluster.allgather_json(
    [{'index': 1, 'score': 0.1}] * 50 * me
  )
  found['agreed'] = refused(
    lambda: cluster.all_or_raise('a choice', lambda: int('7x'[: 1 + me]))
  )
  found['data'] = refused(lambda: workdir.check_same_data(root, {'a': f'{me}'}))
  found['claimed'] = claim(root / 'a')
  found['apart'] = refused(lambda: claim(root / f'b{me}'))
  with workdir.claim(root / 'a', config_lib.default()):
    found['busy'] = refused(lambda: claim(root / 'a'))
  found['lost'] = refused(lambda: cluster.exchange(f'at {me}'))
  time.sleep(3 * me)
  found['late'] = refused(lambda: cluster.exchange('lunch', patience=1))
  print(json.dumps(found))


if __name__ == '__main__':
  main(pathlib.Path(sys.argv[1]))

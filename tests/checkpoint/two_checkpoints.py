"""One of two processes that save together; see store_test.py.

Prints its answers as JSON, and leaves when either gets a signal.
"""

import json
import os
import pathlib
import sys
import time

import jax
from jax import numpy as jnp
import numpy as np

from visor_jax.checkpoint import manifest
from visor_jax.checkpoint import store
from visor_jax.runtime import cluster
from visor_jax.runtime import environment
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import preempt


def main(folder):
  cluster.join(environment.find_process(os.environ), {}, timeout=120)
  preempt.install_handler()
  second, answers = not cluster.is_primary(), {}
  mesh = mesh_lib.make(data=2, fsdp=-1)
  shardings = {'w': mesh_lib.batch_sharding(mesh)}
  params = jax.jit(
    lambda: {'w': jnp.arange(4000.0).reshape(8, 500)}, out_shardings=shardings
  )()

  def saved(act):
    with store.Checkpoints(folder) as checkpoints:
      result = act(checkpoints)
    cluster.exchange('done')
    return result

  with mesh_lib.use_mesh(mesh):
    saved(lambda c: [c.save(step, params, (params,)) for step in (2, 4)])
    answers['resumed'] = [saved(lambda c: c.resume())]
    back, _ = saved(lambda c: c.restore(4, store.abstract(params, shardings)))
    answers['same'] = all(
      np.array_equal(a.data, b.data)
      for a, b in zip(
        back['w'].addressable_shards, params['w'].addressable_shards
      )
    )
    data = max(
      (folder / '4/params/ocdbt.process_1/d').iterdir(),
      key=lambda path: path.stat().st_size,
    )
    for harm in (
      lambda: data.write_bytes(data.read_bytes()[::-1]),
      (folder / '4' / manifest.name(1)).unlink,
    ):
      if second:
        harm()
      cluster.exchange('harm is done')
      answers['resumed'].append(saved(lambda c: c.resume()))
    step = 4
    while not preempt.requested():
      step += 1
      (folder.parent / f'ready{second:d}').touch()
      time.sleep(0.01 + 0.02 * second)  # they are not at the same step
    saved(lambda c: c.save(step, params, (params,)))
    answers['last'] = step
  print(json.dumps(answers), flush=True)
  sys.exit(preempt.EXIT_CODE)


if __name__ == '__main__':
  main(pathlib.Path(sys.argv[1]))

"""Saves steps 1 to 5, from where it was; see saving_test.py."""

import pathlib
import sys

from tests.checkpoint import stages
from visor_jax.checkpoint import store
from visor_jax.runtime import command
from visor_jax.runtime import retry


def save(folder):
  retry.WAITS = (0.01, 0.01)
  with store.Checkpoints(folder) as saved:
    start = saved.resume()
    if start:
      saved.restore(start, stages.like(stages.PARAMS))
    for step in range(start + 1, 6):
      saved.save(step, stages.PARAMS | {'b': stages.PARAMS['b'] + step})
  return 0


if __name__ == '__main__':
  sys.exit(command.run(lambda: save(pathlib.Path(sys.argv[1]))))

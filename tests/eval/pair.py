"""One of two processes that ask together; see pair_test.py.

python -m tests.eval.pair FOLDER
"""

import os
import sys

from tests.eval import pair_test
from visor_jax.runtime import cluster
from visor_jax.runtime import environment
from visor_jax.runtime import mesh as mesh_lib

if __name__ == '__main__':
  cluster.join(environment.find_process(os.environ), {}, timeout=100)
  pair_test.ask(mesh_lib.make(), sys.argv[1])

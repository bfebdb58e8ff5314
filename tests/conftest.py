"""Tests run on 8 fake CPU devices; what needs one takes the first.

JAX_PLATFORMS=cuda runs the drills on a GPU.
"""

import gc
import os

import jax

if 'JAX_PLATFORMS' not in os.environ:
  jax.config.update('jax_platforms', 'cpu')
  os.environ['JAX_PLATFORMS'] = 'cpu'  # of processes that tests start
jax.config.update('jax_num_cpu_devices', 8)


# Tracing makes millions of objects, hardly any of them garbage: it is looked
# for less often.
gc.set_threshold(50_000, 20, 50)


def pytest_configure(config):
  """The suite mostly compiles: to slower programs, in half the time.

  Processes that tests start do so too. Drills measure what users get.
  """
  if config.getoption('markexpr') != 'drill':
    os.environ['XLA_FLAGS'] = ' '.join(
      [
        os.environ.get('XLA_FLAGS', ''),
        '--xla_backend_optimization_level=0',
        '--xla_cpu_use_fusion_emitters=false',
      ]
    ).strip()

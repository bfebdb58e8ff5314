"""Tests run on 8 fake CPU devices; what needs one takes the first.

JAX_PLATFORMS=cuda runs the drills on a GPU.
"""

import os

import jax

if 'JAX_PLATFORMS' not in os.environ:
  jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 8)

"""Tests run on 8 fake CPU devices; what needs one takes the first."""

import jax

jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_num_cpu_devices', 8)

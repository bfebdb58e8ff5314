"""Options of XLA that are better than its defaults."""

from collections.abc import MutableMapping

# Latency hiding: on TPUs it is on, but for collectives that run beside compute.
_OVERLAP = {
  'XLA_FLAGS': ('xla_gpu_enable_latency_hiding_scheduler',),
  'LIBTPU_INIT_ARGS': (
    'xla_tpu_enable_async_collective_fusion',
    'xla_tpu_enable_async_collective_fusion_fuse_all_gather',
    'xla_tpu_overlap_compute_collective_tc',
    'xla_enable_async_all_gather',
  ),
}


def set_overlap_flags(env: MutableMapping[str, str]) -> None:
  """Has XLA send while it computes; call it before jax is used.

  Args:
    env: os.environ; an option that is already given there stays as it is.
  """
  for variable, options in _OVERLAP.items():
    given = env.get(variable, '')
    new = [f'--{option}=true' for option in options if option not in given]
    env[variable] = ' '.join([given, *new]).strip()

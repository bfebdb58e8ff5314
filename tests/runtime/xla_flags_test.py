"""Options of XLA are added, and none that is given is changed."""

from visor_jax.runtime import xla_flags


def test_xla_is_told_to_send_while_it_computes():
  """Once, and not against what the user says."""
  env = {'XLA_FLAGS': '--xla_gpu_enable_latency_hiding_scheduler=false'}
  xla_flags.set_overlap_flags(env)
  assert env['XLA_FLAGS'] == ('--xla_gpu_enable_latency_hiding_scheduler=false')
  assert '--xla_tpu_overlap_compute_collective_tc=true' in (
    env['LIBTPU_INIT_ARGS'].split()
  )
  before = dict(env)
  xla_flags.set_overlap_flags(env)
  assert env == before

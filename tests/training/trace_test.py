"""A trace is there for whom it was asked for."""

import jax.numpy as jnp

from visor_jax.training import trace as trace_lib


def test_a_trace_covers_its_steps(tmp_path):
  waited = []
  with trace_lib.Trace(tmp_path / 'trace', (1, 2)) as trace:
    for i in range(5):
      trace.step(i, lambda: waited.append(i))
      jnp.ones(3) + i
  assert waited == [1, 3]  # what was before, and what is within
  assert list((tmp_path / 'trace').rglob('*.xplane.pb'))


def test_a_trace_that_the_run_cuts_off_is_there(tmp_path):
  with trace_lib.Trace(tmp_path / 'trace', (0, 99)) as trace:
    trace.step(0, lambda: None)
  assert list((tmp_path / 'trace').rglob('*.xplane.pb'))


def test_no_trace_unless_asked_for(tmp_path):
  with trace_lib.Trace(tmp_path / 'trace') as trace:
    trace.step(0, lambda: None)
  assert not (tmp_path / 'trace').exists()

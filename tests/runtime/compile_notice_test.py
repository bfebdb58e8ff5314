"""Who compiles says so, and for how long."""

import jax
import jax.numpy as jnp

from visor_jax.runtime import compile_notice


def test_compiling_is_said_while_it_lasts(monkeypatch):
  """By jax's own events: these are the names it has for them."""
  monkeypatch.setattr(compile_notice, 'PATIENCE', 0.0)
  lines = []
  with compile_notice.notices(lines.append):
    jax.jit(lambda x: jnp.sin(x) + 41)(jnp.zeros(3)).block_until_ready()
  assert lines and lines[-1].startswith('compiled in ')
  heard = len(lines)
  jax.jit(lambda x: jnp.sin(x) + 42)(jnp.zeros(3)).block_until_ready()
  assert len(lines) == heard  # nobody listens any more


def test_what_is_fast_goes_unsaid(monkeypatch):
  monkeypatch.setattr(compile_notice, 'PATIENCE', 60.0)
  lines = []
  with compile_notice.notices(lines.append):
    jax.jit(lambda x: jnp.sin(x) + 43)(jnp.zeros(3)).block_until_ready()
  assert not lines

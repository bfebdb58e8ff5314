"""cuDNN against query chunks: JAX_PLATFORMS=cuda pytest -m drill -n0 FILE."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from visor_jax.models import attention
from visor_jax.models import compute as compute_lib
from visor_jax.models import positions


@pytest.mark.drill
def test_cudnn_equals_chunked_in_bfloat16():
  assert jax.default_backend() == 'gpu', 'this drill needs a GPU'
  b, s, n, k, h = 2, 1024, 14, 2, 64
  keys = jax.random.split(jax.random.key(0), 3)
  query, key, value = (
    jax.random.normal(r, (b, s, heads, h), jnp.bfloat16)
    for r, heads in zip(keys, (n, k, k))
  )
  place = jnp.broadcast_to(jnp.arange(s), (b, s))
  length = jnp.array([[s], [700]])
  slots = positions.Slots((place < length).astype(jnp.int32), place)

  def run(implementation):
    def f(query, key, value):
      out = attention.attend(
        query,
        key,
        value,
        slots,
        slots,
        ordered=True,
        compute=compute_lib.Compute(packed=False, attention=implementation),
      ).astype(jnp.float32)
      return jnp.sum(out * (slots.segment[:, :, None, None] > 0)), out

    (_, out), grads = jax.jit(
      jax.value_and_grad(f, argnums=(0, 1, 2), has_aux=True)
    )(query, key, value)
    return jax.tree.map(lambda x: np.asarray(x, np.float32), (out, grads))

  for a, b in zip(
    jax.tree.leaves(run('cudnn')), jax.tree.leaves(run('chunked'))
  ):
    assert np.linalg.norm(a - b) <= 2e-2 * np.linalg.norm(b)

"""What vision towers say of patches."""

import numpy as np

from tests import rows
from visor_jax.models import vision


def test_a_patch_is_rated_by_the_attention_it_gets():
  """Against all scores at once, which a real tile has no room for."""
  query = np.random.default_rng(0).normal(size=(2, 3, 5, 2, 4)).astype('f')
  key = 0.7 * query[::-1]
  scores = np.einsum('bipnh,biqnh->binpq', query, key) / 2
  weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
  np.testing.assert_allclose(
    rows.jit(vision.received)(query, key), weights.mean((2, 3)), rtol=1e-5
  )

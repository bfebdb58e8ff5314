"""How the next token is drawn."""

import jax
import jax.numpy as jnp
import numpy as np

from visor_jax.eval import logit_rules
from visor_jax.eval import sampling


def draws(logits, n=4000, **kwargs):
  """Shares of the tokens drawn from one row of logits."""
  generated = sampling.draw(
    sampling.Sampling(1, (3,), **kwargs),
    jnp.broadcast_to(jnp.array(logits), (n, len(logits))),
    logit_rules.Sequences(jnp.zeros((n, 0), jnp.int32), jnp.zeros(n)),
    0,
    jax.random.key(1),
  )
  return np.bincount(np.asarray(generated), minlength=len(logits)) / n


def test_draws():
  """Four tokens of probability .1 .4 .3 .2."""
  logits = np.log([0.1, 0.4, 0.3, 0.2])
  assert draws(logits).tolist() == [0, 1, 0, 0]
  np.testing.assert_allclose(
    draws(logits, temperature=1.0), [0.1, 0.4, 0.3, 0.2], atol=0.03
  )
  cold = np.array([0.1, 0.4, 0.3, 0.2]) ** 2
  np.testing.assert_allclose(
    draws(logits, temperature=0.5), cold / cold.sum(), atol=0.03
  )
  # .4 and .3 do not reach .75, so the third stays, too; .4 alone reaches .4.
  np.testing.assert_allclose(
    draws(logits, temperature=1.0, top_p=0.75),
    [0, 4 / 9, 3 / 9, 2 / 9],
    atol=0.03,
  )
  assert draws(logits, temperature=1.0, top_p=0.3).tolist() == [0, 1, 0, 0]

"""What a step may touch."""

import jax
from jax import numpy as jnp
import numpy as np
import optax
import pytest

from visor_jax.training import losses
from visor_jax.training import step


def test_a_step_trains_what_trains_and_keeps_the_rest():
  """One step of plain descent, by hand."""

  def loss(params, batch, extra):
    value = params['a']['w'] * params['b']['w'] * batch + extra
    return value, {'double': 2 * value}

  tx = optax.sgd(0.5)
  trained, frozen = {'a/w': jnp.float32(2)}, {'b/w': jnp.float32(3)}
  state = step.State(trained, frozen, tx.init(trained))
  new, metrics = jax.jit(step.train_step(loss, tx))(state, 4.0, 1.0)
  assert float(new.trained['a/w']) == 2 - 0.5 * 3 * 4
  assert float(new.frozen['b/w']) == 3
  assert {k: float(v) for k, v in metrics.items()} == dict(
    loss=25.0, double=50.0, grad_norm=12.0, skipped=0.0
  )
  assert jax.tree.map(float, new.params) == {'a': {'w': -4.0}, 'b': {'w': 3.0}}


@pytest.mark.parametrize('parts', [2, 4])
def test_gradients_that_are_accumulated_are_those_of_the_batch(parts):
  """Also where some rows, or all of a part, have no targets."""

  def loss(params, rows, plan):
    x, weight = rows
    value = jnp.tanh(x @ params['a']['w']) * plan
    return losses.means(
      (value * weight).sum(), (weight * (x[:, 0] > 0)).sum(), weight
    )

  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.standard_normal((8, 3)), jnp.float32)
  rows = x, jnp.array([1, 0, 1, 0, 0, 0, 1, 0])
  trained = {'a/w': jnp.asarray(rng.standard_normal(3), jnp.float32)}
  tx = optax.adam(0.1)
  state = step.State(trained, {}, tx.init(trained))

  def run(parts):
    return jax.jit(step.train_step(loss, tx, parts))(state, rows, 2.0)

  (want, want_metrics), (got, metrics) = run(1), run(parts)
  assert want_metrics['targets'] == 3
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
    (got, metrics),
    (want, want_metrics),
  )


@pytest.mark.parametrize(
  'batch,extra', [(np.nan, 0.0), (np.inf, 0.0), (0.0, np.nan), (1e30, 0.0)]
)
def test_a_step_that_is_not_finite_is_not_applied(batch, extra):
  """Bit by bit: a moment that took the blow would spoil what follows.

  The loss alone may be at fault, or only a gradient whose norm is too large.
  """

  def loss(params, batch, extra):
    return (params['a'] * batch).sum() + extra, {}

  tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1))
  trained = {'a': jnp.array([1.1, -2.0])}
  train = jax.jit(step.train_step(loss, tx))
  state, metrics = train(step.State(trained, {}, tx.init(trained)), 3.0, 0.0)
  assert not metrics['skipped'] and (state.trained['a'] != trained['a']).all()
  after, metrics = train(state, jnp.float32(batch), extra)
  assert metrics['skipped']
  jax.tree.map(np.testing.assert_array_equal, after, state)
  again, _ = train(after, 3.0, 0.0)
  want, _ = train(state, 3.0, 0.0)
  jax.tree.map(np.testing.assert_array_equal, again, want)

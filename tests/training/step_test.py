"""Losses by hand, and what a step may touch."""

import types

import jax
from jax import numpy as jnp
import numpy as np
import optax
import pytest

from visor_jax import config as config_lib
from visor_jax.training import step


class Fixed:
  """A model that says what it is told to."""

  def __init__(self, out):
    self.out = jnp.asarray(out, jnp.float32)

  def apply(self, variables, x, *args, method=None):
    if method == 'logits':
      return x
    return (self.out, None) if method == 'route' else self.out


def logits(rows, vocabulary=4):
  """Logits that give a token the probability; the rest share what is left."""
  out = np.zeros((len(rows), len(rows[0]), vocabulary))
  for b, row in enumerate(rows):
    for t, (token, p) in enumerate(row):
      out[b, t] = np.log((1 - p) / (vocabulary - 1))
      out[b, t, token] = np.log(p)
  return out


def test_the_answer_is_predicted_one_slot_before():
  """Slot t speaks of token t + 1; only tokens of answers count."""
  batch = types.SimpleNamespace(
    tokens=jnp.array([[0, 1, 2, 3], [1, 1, 1, 1]]),
    answer=jnp.array([[0, 0, 1, 1], [0, 0, 0, 0]], bool),
  )
  says = [
    [(3, 0.9), (2, 0.5), (3, 0.25), (0, 0.9)],
    [(0, 0.9), (0, 0.9), (0, 0.9), (0, 0.9)],
  ]  # wrong, and not asked
  loss, metrics = step.answer_loss(Fixed(logits(says)), {}, batch, None)
  assert float(loss) == pytest.approx(
    -(np.log(0.5) + np.log(0.25)) / 2, rel=1e-5
  )
  # .25 for token 3 is no more than for the others: argmax takes the first.
  assert float(metrics['accuracy']) == 0.5


@pytest.mark.parametrize('chunk', [1, 2, 5, 6])
def test_the_loss_does_not_depend_on_its_chunks(chunk):
  """Nor do gradients; what fills the last chunk up is no answer."""
  rng = np.random.default_rng(0)
  batch = types.SimpleNamespace(
    tokens=jnp.asarray(rng.integers(0, 4, (3, 7))),
    answer=jnp.asarray(rng.random((3, 7)) < 0.5),
  )
  out = jnp.asarray(rng.standard_normal((3, 7, 4)), jnp.float32)
  run = lambda chunk: jax.value_and_grad(
    lambda out: step.answer_loss(Fixed(out), {}, batch, None, chunk),
    has_aux=True,
  )(out)
  (want, want_metrics), want_grad = run(100)
  (got, metrics), grad = run(chunk)
  np.testing.assert_allclose(got, want, rtol=1e-6)
  np.testing.assert_allclose(grad, want_grad, rtol=1e-5, atol=1e-7)
  assert metrics['accuracy'] == want_metrics['accuracy']


def test_a_batch_without_answers_has_no_loss():
  """Not 0 / 0: one row of padding must not ruin the weights."""
  batch = types.SimpleNamespace(
    tokens=jnp.zeros((1, 3), int), answer=jnp.zeros((1, 3), bool)
  )
  loss, metrics = step.answer_loss(Fixed(np.zeros((1, 3, 4))), {}, batch, None)
  assert float(loss) == float(metrics['accuracy']) == 0


@pytest.mark.parametrize(
  'labels,want,right',
  [
    ([[0], [1]], -(np.log(0.8) + np.log(0.5)) / 2, 1.0),
    ([[1], [1]], -(np.log(0.2) + np.log(0.5)) / 2, 0.5),
    ([[0], [-1]], -np.log(0.8), 1.0),  # no label, no loss
    ([[-1], [-1]], 0.0, 0.0),
  ],
)
def test_the_router_learns_among_viable_plans(labels, want, right):
  """Outputs past the viable plans stay out of the softmax."""
  scores = np.log([[[0.8, 0.2, 7.0, 9.0]], [[0.5, 0.50001, 3.0, 9.0]]])
  loss, metrics = step.policy_loss(
    Fixed(scores), {}, None, jnp.array(labels), 2
  )
  assert float(loss) == pytest.approx(want, abs=1e-4)
  assert float(metrics['accuracy']) == right


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
    return step._means(
      (value * weight).sum(), (weight * (x[:, 0] > 0)).sum(), weight
    )

  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.standard_normal((8, 3)), jnp.float32)
  rows = x, jnp.array([1, 0, 1, 0, 0, 0, 1, 0])
  trained = {'a/w': jnp.asarray(rng.standard_normal(3), jnp.float32)}
  tx = optax.adam(0.1)
  state = step.State(trained, {}, tx.init(trained))
  run = lambda parts: jax.jit(step.train_step(loss, tx, parts))(
    state, rows, 2.0
  )
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


def test_a_cross_attention_that_does_not_exist_is_named():
  config = config_lib.default()
  config.model.cross.module = 'mine'
  with pytest.raises(ValueError, match=r'model\.cross\.module is "mine"') as e:
    step.model(config)
  assert 'attention' in str(e.value)


def test_the_model_is_the_one_configured():
  """A key that reaches nothing would be swept in vain."""
  config = config_lib.default()
  config.model.size, config.model.dtype = 'digits', 'bfloat16'
  config.model.cross.key_heads, config.model.router.hidden = 'full', 5
  config.model.remat, config.model.scan = False, False
  config.model.attention_chunk, config.search.max_plans = 3, 4
  model = step.model(config)
  assert model.size.language.width == 64
  assert model.cross_options.key_heads == 'full'
  assert model.router_options.hidden == 5 and model.router_options.plans == 4
  assert (
    model.compute.dtype,
    model.compute.remat,
    model.compute.scan,
    model.compute.chunk,
  ) == ('bfloat16', False, False, 3)

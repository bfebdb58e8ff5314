"""Losses by hand."""

import types

import jax
from jax import numpy as jnp
import numpy as np
import optax
import pytest

from visor_jax.training import losses
from visor_jax.training import optim
from visor_jax.training import step


class Fixed:
  """A model that says what it is told to."""

  def __init__(self, out):
    self.out = jnp.asarray(out, jnp.float32)

  def apply(self, variables, x, *args, method=None):
    if method == 'head_inputs':  # the head gives back what it gets
      return self.out, jnp.eye(self.out.shape[-1])
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
  loss, metrics = losses.answer_loss(
    Fixed(logits(says)), {}, losses.Examples(batch), None
  )
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

  def loss(out):
    examples = losses.Examples(batch)
    return losses.answer_loss(Fixed(out), {}, examples, None, chunk)

  def plain(out):
    target, weight = batch.tokens[:, 1:], batch.answer[:, 1:]
    each = optax.softmax_cross_entropy_with_integer_labels(out[:, :-1], target)
    right = out[:, :-1].argmax(-1) == target
    return each.mean(where=weight), right.mean(where=weight)

  (got, metrics), grad = jax.value_and_grad(loss, has_aux=True)(out)
  (want, accuracy), want_grad = jax.value_and_grad(plain, has_aux=True)(out)
  np.testing.assert_allclose(got, want, rtol=1e-6)
  np.testing.assert_allclose(loss(out)[0], want, rtol=1e-6)
  np.testing.assert_allclose(grad, want_grad, rtol=1e-5, atol=1e-7)
  assert float(metrics['accuracy']) == pytest.approx(float(accuracy))


def test_a_batch_without_answers_has_no_loss():
  """Not 0 / 0: one row of padding must not ruin the weights."""
  batch = types.SimpleNamespace(
    tokens=jnp.zeros((1, 3), int), answer=jnp.zeros((1, 3), bool)
  )
  loss, metrics = losses.answer_loss(
    Fixed(np.zeros((1, 3, 4))), {}, losses.Examples(batch), None
  )
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
  loss, metrics = losses.policy_loss(
    Fixed(scores), {}, losses.Examples(None, jnp.array(labels)), None, 2
  )
  assert float(loss) == pytest.approx(want, abs=1e-4)
  assert float(metrics['accuracy']) == right


def test_the_gradient_of_reward_is_that_of_drawing_plans():
  """By hand, of every draw: its advantage over its question's other plans."""
  rng = np.random.default_rng(0)
  scores, price = rng.standard_normal((5, 1, 4)), 0.7
  labels = np.float32(rng.random((5, 1, 3, 2)))  # the fourth is not viable
  examples = losses.Examples(None, labels)

  def loss(scores):
    return losses.reward_loss(
      Fixed(scores), dict(multipliers=(price, 0.05)), examples, None, 3
    )

  (got, metrics), grad = jax.value_and_grad(loss, has_aux=True)(
    jnp.asarray(scores)
  )
  want, value = np.zeros_like(scores), 0.0
  for row, share, (score, cost) in zip(
    want, np.exp(scores[..., :3]), np.moveaxis(labels, -1, 1)
  ):
    share = share[0] / share.sum()
    reward = score[0] - price * cost[0] - 0.05 * np.log(share)
    value -= share @ reward / 5
    for plan in range(3):
      advantage = reward[plan] - reward.mean()
      chosen = np.eye(3)[plan]
      row[0, :3] -= share[plan] * advantage * (chosen - share) / 5
  np.testing.assert_allclose(grad, want, atol=1e-6)
  assert float(got) == pytest.approx(value, abs=1e-6)
  assert int(metrics['targets']) == 5


def test_reward_is_not_fooled_by_luck():
  """Half of the questions may have the dear plan: which half gains by it?

  Of the first kind every plan guesses, of the second the dear one sees more.
  Labels leave out where all are wrong, and count a lucky guess as need.
  """
  rng = np.random.default_rng(0)
  guess = rng.random((1000, 2)) < 0.3
  sure = rng.random((1000, 1)) < [0.5, 0.75]
  right = np.float32([guess, sure])  # [kinds, questions, plans]
  cost = np.broadcast_to(np.float32([0.3, 1]), right.shape)
  rewards = jnp.asarray(np.stack([right, cost], -1))
  cheapest = np.where(right.any(-1), right.argmax(-1), -1)

  def upgraded(loss, labels, params):
    """The kind whose dear plan is likelier, and its accuracy with it."""
    optimizer = optax.adam(0.1)

    def of_scores(scores):
      scores = jnp.broadcast_to(scores, (*labels.shape[:2], 2))
      examples = losses.Examples(None, labels)
      return loss(Fixed(scores), params, examples, None, 2)[0]

    def step_(carry, _):
      scores, opt = carry
      updates, opt = optimizer.update(jax.grad(of_scores)(scores), opt)
      return (scores + updates, opt), None

    start = jnp.zeros((2, 1, 2))
    (scores, _), _ = jax.lax.scan(
      step_, (start, optimizer.init(start)), length=200
    )
    kind = int((scores[..., 1] - scores[..., 0])[:, 0].argmax())
    return kind, (right[kind, :, 1].mean() + right[1 - kind, :, 0].mean()) / 2

  kind, accuracy = upgraded(losses.policy_loss, cheapest, {})
  assert kind == 0 and accuracy == pytest.approx(0.4, abs=0.02)
  multipliers = optim.Multipliers(0.2, 0.05)
  kind, accuracy = upgraded(
    losses.reward_loss, rewards, dict(multipliers=multipliers)
  )
  assert kind == 1 and accuracy == pytest.approx(0.525, abs=0.02)


@pytest.mark.parametrize('budget', [0.6, 2.0])
def test_what_is_learned_is_the_best_within_the_budget(budget):
  """Each question's plans in proportion to exp(reward / worth of entropy).

  The price is the one at which they take the budget, by bisection; 0 where
  the budget is more than anybody would spend.
  """
  score = np.array([[0.5, 0.6, 0.9], [0.9, 0.91, 0.92], [0.1, 0.7, 0.7]])
  cost = np.array([[0.2, 0.5, 0.9], [0.2, 0.6, 1.0], [0.3, 0.6, 1.1]])

  def best(price):
    shares = np.exp((score - price * cost) / optim.ENTROPY[1])
    return shares / shares.sum(-1, keepdims=True)

  low, high = 0.0, 5.0
  for _ in range(50):
    middle = (low + high) / 2
    more = (best(middle) * cost).sum(-1).mean() > budget
    low, high = (middle, high) if more else (low, middle)

  def loss(params, labels, plan):
    return losses.reward_loss(
      Fixed(params['scores']), params, losses.Examples(None, labels), plan, 3
    )

  optimizer = optim.dual_ascent(optax.adam(0.1), budget, 1000)
  trained = {'scores': jnp.zeros((3, 1, 3))}
  state = step.State(trained, {}, optimizer.init(trained))
  labels = jnp.asarray(np.stack([score, cost], -1)[:, None])
  train = step.train_step(loss, optimizer)
  state, metrics = jax.jit(
    lambda state: jax.lax.scan(
      lambda state, _: train(state, labels, None), state, length=2000
    )
  )(state)
  assert float(metrics['price'][-1]) == pytest.approx(low, abs=0.01)
  got = jax.nn.softmax(state.trained['scores'][:, 0])
  np.testing.assert_allclose(got, best(low), atol=0.02)
  if budget < 1:
    assert float(metrics['spent'][-1]) == pytest.approx(budget, abs=0.005)

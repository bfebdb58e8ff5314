"""State, losses and steps: pure functions of (state, batch, plan)."""

import functools
from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import optax

from visor_jax.checkpoint import resolve
from visor_jax.models import compute as compute_lib
from visor_jax.models import visor
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths


class State(NamedTuple):
  """What a step takes and gives; parameters are flat, {path: array}."""

  trained: dict
  frozen: dict  # no gradients, no optimizer state
  opt: tuple

  @property
  def params(self) -> dict:
    return param_paths.unflatten(self.trained | self.frozen)


def model(
  config: ml_collections.ConfigDict, packed: bool = False
) -> visor.Visor:
  """The configured model.

  Args:
    config: the whole config.
    packed: a row may hold several segments.

  Raises:
    ValueError: the config and its checkpoint differ, see resolve.architecture.
  """
  m = config.model
  return visor.Visor(
    resolve.architecture(config),
    compute_lib.Compute(
      dtype=m.dtype,
      remat=m.remat,
      remat_policy=m.remat_policy,
      scan=m.scan,
      attention=m.attention,
      chunk=m.attention_chunk,
      packed=packed,
    ),
  )


def init(model: visor.Visor, seed: int, batch, mesh):
  """Fresh parameters, made where they will lie.

  Args:
    model: of `model`.
    seed: of the run.
    batch: any Batch; only shapes matter.
    mesh: of mesh.make.

  Returns:
    (make, shapes, shardings): a function that makes nested parameters, all but
    those whose paths it is given; their abstract tree; their NamedShardings.
  """
  model = model.with_reduction('')  # which has no parameters

  def start():
    with nn.logical_axis_rules(()):  # where it lies is said by out_shardings
      return model.init(jax.random.key(seed), batch, method='init_all')[
        'params'
      ]

  def unbox(tree):
    with nn.logical_axis_rules(()):
      return nn.unbox(tree)

  boxed = jax.eval_shape(start)
  shardings = mesh_lib.shardings(boxed, mesh)

  def make(known=()):
    missing = lambda tree: {
      k: v for k, v in param_paths.flatten(tree).items() if k not in known
    }
    made = jax.jit(
      lambda: missing(unbox(start())), out_shardings=missing(shardings)
    )()
    return param_paths.unflatten(made)

  return make, unbox(boxed), shardings


def answer_loss(model, params, batch, plan, chunk: int = 512):
  """Mean cross-entropy of answer tokens, each predicted one slot before.

  Args:
    model: a models.visor.Visor.
    params: nested.
    batch: a Batch.
    plan: see models.visor.Visor.
    chunk: text slots whose logits are held at a time. A row of 4096 over a
      vocabulary of 152,000 would take 2.5 GB, and as much for its gradient.

  Returns:
    loss and metrics: `accuracy` of single tokens, `targets` counted.
  """
  apply = functools.partial(model.apply, {'params': params})
  hidden = apply(batch, plan, method='hidden')[:, :-1]
  target, weight = batch.tokens[:, 1:], batch.answer[:, 1:]

  def sums(part):
    hidden, target, weight = part
    logits = apply(hidden, method='logits')
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, target)
    right = (logits.argmax(-1) == target) & weight
    return jnp.sum(loss * weight), right.sum()

  parts = hidden, target, weight
  if target.shape[1] <= chunk:
    loss, right = sums(parts)
  else:
    loss, right = jax.tree.map(
      jnp.sum,
      jax.lax.map(
        jax.checkpoint(sums), jax.tree.map(lambda x: _chunks(x, chunk), parts)
      ),
    )
  return _means(loss, right, weight)


def _chunks(x, size):
  """[B, T, ...] to [chunks, B, size, ...]; the rest is filled with zeros."""
  x = jnp.pad(x, [(0, 0), (0, -x.shape[1] % size)] + [(0, 0)] * (x.ndim - 2))
  x = x.reshape(x.shape[0], -1, size, *x.shape[2:])
  return x.swapaxes(0, 1)


def policy_loss(model, params, batch, labels, viable: int):
  """Mean cross-entropy of the router's scores on the labels.

  Args:
    model: a models.visor.Visor.
    params: nested.
    batch: a Batch of prompts.
    labels: int32 [B, R], index of a viable plan by cost; below 0 for none.
    viable: how many plans are viable.

  Returns:
    loss and metrics: `accuracy` of the likeliest plan, `targets` counted.
  """
  scores, _ = model.apply({'params': params}, batch, method='route')
  scores = scores[..., :viable]
  weight = labels >= 0
  loss = optax.softmax_cross_entropy_with_integer_labels(
    scores, jnp.maximum(labels, 0)
  )
  right = (scores.argmax(-1) == labels) & weight
  return _means(jnp.sum(loss * weight), right.sum(), weight)


def _means(loss, right, weight):
  """From sums to a loss and metrics; without targets they are 0."""
  targets = weight.sum()
  total = jnp.maximum(targets, 1)
  return loss / total, {'accuracy': right / total, 'targets': targets}


def train_step(loss, tx, parts: int = 1):
  """A train step; jit it with the state donated.

  A step whose loss or gradient is not finite is not applied: the state stays
  as it was, bit by bit, and the metric `skipped` is 1.

  Args:
    loss: (params, rows, plan) -> (loss, metrics), means over the metric
      `targets`.
    tx: optimizer on the flat dict of what trains.
    parts: of the rows, one after the other, whose gradients are accumulated:
      the same step in less memory.

  Returns:
    (state, rows, plan) -> (state, metrics); rows are a pytree, [B, ...] each.
  """

  def gradients(state, rows, plan):
    def of(trained):
      return loss(param_paths.unflatten(trained | state.frozen), rows, plan)

    return jax.value_and_grad(of, has_aux=True)(state.trained)

  def accumulated(state, rows, plan):
    # Every parts-th row, so that devices keep theirs.
    rows = jax.tree.map(
      lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), rows
    )

    def add(sums, part):
      (value, metrics), grads = gradients(state, part, plan)
      targets = metrics['targets']
      mine = (value, metrics | {'targets': 1}), grads
      return jax.tree.map(lambda s, x: s + targets * x, sums, mine), None

    one = jax.eval_shape(
      gradients, state, jax.tree.map(lambda x: x[0], rows), plan
    )
    sums, _ = jax.lax.scan(
      add, jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), one), rows
    )
    targets = sums[0][1]['targets']
    (value, metrics), grads = jax.tree.map(
      lambda s: s / jnp.maximum(targets, 1), sums
    )
    return (value, metrics | {'targets': targets}), grads

  def step(state, rows, plan):
    (value, metrics), grads = (gradients if parts == 1 else accumulated)(
      state, rows, plan
    )
    updates, opt = tx.update(grads, state.opt, state.trained)
    trained = optax.apply_updates(state.trained, updates)
    norm = optax.tree.norm(grads)
    finite = jnp.isfinite(value) & jnp.isfinite(norm)
    trained, opt = jax.tree.map(
      lambda new, old: jnp.where(finite, new, old),
      (trained, opt),
      (state.trained, state.opt),
    )
    metrics |= {'loss': value, 'grad_norm': norm, 'skipped': 1 - finite}
    return State(trained, state.frozen, opt), metrics

  return step

"""State and step: pure functions of (state, examples, plan)."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from visor_jax.runtime import param_paths
from visor_jax.training import losses
from visor_jax.training import optim


class State(NamedTuple):
  """What a step takes and gives; parameters are flat, {path: array}.

  Attributes:
    trained: parameters that learn.
    frozen: those that do not: no gradients, no optimizer state.
    opt: state of the optimizer of `trained`.
  """

  trained: dict[str, jax.Array]
  frozen: dict[str, jax.Array]
  opt: optax.OptState

  @property
  def params(self) -> param_paths.Params:
    """All parameters, nested."""
    return param_paths.unflatten(self.trained | self.frozen)


# (nested parameters, examples, plan) -> loss and metrics.
LossOfParams = Callable[
  [param_paths.Params, Any, Any], tuple[jax.Array, losses.Metrics]
]
Step = Callable[[State, Any, Any], tuple[State, losses.Metrics]]


def train_step(
  loss: LossOfParams, optimizer: optim.Optimizer, parts: int = 1
) -> Step:
  """A train step; jit it with the state donated.

  A step whose loss or gradient is not finite is not applied: the state stays
  as it was, bit by bit, and the metric `skipped` is 1.

  Args:
    loss: a mean over the metric `targets`, of parameters, and of `multipliers`
      if the optimizer has them.
    optimizer: of the flat dict of what trains; gets the metrics, too.
    parts: of the examples, one after the other, whose gradients are
      accumulated: the same step in less memory.

  Returns:
    (state, examples, plan) -> (state, metrics); examples are any pytree of
    arrays [B, ...].
  """

  def gradients(state: State, examples: Any, plan: Any) -> tuple[Any, Any]:
    def of_trained(
      trained: dict[str, jax.Array],
    ) -> tuple[jax.Array, losses.Metrics]:
      params = param_paths.unflatten(trained | state.frozen)
      return loss(params | optim.multipliers(state.opt), examples, plan)

    return jax.value_and_grad(of_trained, has_aux=True)(state.trained)

  def accumulated(state: State, examples: Any, plan: Any) -> tuple[Any, Any]:
    # Every parts-th row, so that devices keep theirs.
    examples = jax.tree.map(
      lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), examples
    )

    def add(sums: Any, part: Any) -> tuple[Any, None]:
      (value, metrics), grads = gradients(state, part, plan)
      targets = metrics['targets']
      weighed = (value, metrics | {'targets': 1}), grads
      return jax.tree.map(lambda s, x: s + targets * x, sums, weighed), None

    first = jax.tree.map(lambda x: x[0], examples)
    shapes = jax.eval_shape(gradients, state, first, plan)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), shapes)
    sums, _ = jax.lax.scan(add, zeros, examples)
    targets = sums[0][1]['targets']
    (value, metrics), grads = jax.tree.map(
      lambda s: s / jnp.maximum(targets, 1), sums
    )
    return (value, metrics | {'targets': targets}), grads

  def step(
    state: State, examples: Any, plan: Any
  ) -> tuple[State, losses.Metrics]:
    compute = gradients if parts == 1 else accumulated
    (value, metrics), grads = compute(state, examples, plan)
    updates, opt = optimizer.update(grads, state.opt, state.trained, **metrics)
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

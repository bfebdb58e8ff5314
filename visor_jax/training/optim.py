"""Optimizer and schedule, and what parameter paths have to do with them."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple
from typing import TypeAlias

import jax
import jax.numpy as jnp
import ml_collections
import optax

from visor_jax.runtime import param_paths

Optimizer: TypeAlias = optax.GradientTransformationExtraArgs
OptState: TypeAlias = optax.OptState

PRICE_RATE = 0.05  # a step's change of the price, by the share overspent
ENTROPY = (0.05, 0.02)  # reward of a nat of it, at the first step and the last


def schedule(
  stage: ml_collections.ConfigDict,
) -> Callable[[int | jax.Array], jax.Array]:
  """Linear warm-up, then cosine: applied steps -> learning rate.

  Args:
    stage: the config of the stage.
  """
  warmup = max(1, round(stage.warmup * stage.steps))
  return optax.warmup_cosine_decay_schedule(
    stage.learning_rate / (warmup + 1),
    stage.learning_rate,
    warmup,
    max(stage.steps, warmup + 1),
    stage.end_lr_fraction * stage.learning_rate,
  )


def make(
  optim: ml_collections.ConfigDict, stage: ml_collections.ConfigDict
) -> Optimizer:
  """AdamW on a flat dict of parameters.

  Args:
    optim: the config's `optim`.
    stage: the config of the stage.
  """

  def scale(updates: dict[str, jax.Array], _: object) -> dict[str, jax.Array]:
    scales = param_paths.by_path(optim.lr_scales, updates)
    return {path: u * scales[path] for path, u in updates.items()}

  def decays(params: dict[str, jax.Array]) -> dict[str, bool]:
    return param_paths.by_path(optim.weight_decay_mask, params)

  clip = (
    optax.clip_by_global_norm(optim.clip) if optim.clip else optax.identity()
  )
  return optax.chain(
    clip,
    optax.adamw(
      schedule(stage),
      optim.b1,
      optim.b2,
      mu_dtype=optim.mu_dtype,
      weight_decay=optim.weight_decay,
      mask=decays,
    ),
    optax.stateless(scale),
  )


class Multipliers(NamedTuple):
  """State of `dual_ascent`: what a unit of each adds to the reward, or takes.

  Attributes:
    price: of cost, which it takes.
    entropy: of the shares that plans have.
  """

  price: jax.Array
  entropy: jax.Array


def dual_ascent(optimizer: Optimizer, budget: float, steps: int) -> Optimizer:
  """A price that rises while more is spent than a budget, and falls else.

  It never falls below 0. Entropy is worth less with every step. Both are part
  of the state: a step that is not applied leaves them as they were.

  Args:
    optimizer: of the parameters, which goes on as it is.
    budget: what may be spent, to be compared with the metric `spent`.
    steps: of the stage.
  """
  first, last = ENTROPY

  def init(params: optax.Params) -> Multipliers:
    return Multipliers(jnp.float32(0), jnp.float32(first))

  def update(
    updates: optax.Updates,
    state: OptState,
    params: optax.Params | None = None,
    *,
    spent: jax.Array,
    **metrics: Any,
  ) -> tuple[optax.Updates, Multipliers]:
    price = jnp.maximum(0, state.price + PRICE_RATE * (spent - budget))
    entropy = jnp.maximum(last, state.entropy - (first - last) / steps)
    return updates, Multipliers(price, entropy)

  return optax.chain(
    optimizer, optax.GradientTransformationExtraArgs(init, update)
  )


def multipliers(opt: OptState) -> dict[str, Multipliers]:
  """{'multipliers': those of `dual_ascent`}, or nothing without it."""
  for node in jax.tree.leaves(opt, is_leaf=_is_multipliers):
    if _is_multipliers(node):
      return {'multipliers': node}
  return {}


def _is_multipliers(node: object) -> bool:
  return isinstance(node, Multipliers)


def learning_rate(
  stage: ml_collections.ConfigDict, opt: OptState, skipped: bool
) -> float:
  """The learning rate of the step that left an optimizer in this state.

  The schedule goes by the steps that were applied, and those that were skipped
  are not: they had the rate that the next one has.

  Args:
    stage: the config of the stage.
    opt: state of an optimizer of `make`.
    skipped: whether that step was not applied.
  """
  (state,) = (
    node
    for node in jax.tree.leaves(opt, is_leaf=_is_schedule)
    if _is_schedule(node)
  )
  return float(
    schedule(stage)(int(jax.device_get(state.count)) - (not skipped))
  )


def _is_schedule(node: object) -> bool:
  return isinstance(node, optax.ScaleByScheduleState)

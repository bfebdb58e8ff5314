"""Optimizer and schedule, and what parameter paths have to do with them."""

from collections.abc import Callable
from collections.abc import Mapping
import math
from typing import Any
from typing import NamedTuple
from typing import TypeAlias

import jax
import jax.numpy as jnp
import ml_collections
import optax
from optax import contrib

from visor_jax.runtime import param_paths

Optimizer: TypeAlias = optax.GradientTransformationExtraArgs
OptState: TypeAlias = optax.OptState

# Weights that are matrices, by path: which axes go in, and which come out; on
# the others one matrix lies beside the next. None for all that is none.
Axes: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
MATRICES: param_paths.Patterns[Axes | None] = (
  ('.*/(query|key|value|qkv)', ((1,), (-2, -1))),
  ('.*(attention|cross|vision/layers)/out', ((1, 2), (3,))),
  ('.*layers/(mlp/)?(gate|up|down)', ((1,), (2,))),
  ('connector/(in|out)', ((0,), (1,))),
  ('.*', None),
)
MUON_BETA = 0.95  # of the mean of gradients
MUON_RMS = 0.2  # of an update, about what Adam's have (Liu et al., 2502.16982)

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
  """The optimizer of a flat dict of parameters; weight decay is decoupled.

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
    optax.chain(
      _direction(optim),
      optax.add_decayed_weights(optim.weight_decay, decays),
      optax.scale_by_learning_rate(schedule(stage)),
    ),
    optax.stateless(scale),
  )


def _direction(
  optim: ml_collections.ConfigDict,
) -> optax.GradientTransformation:
  """What a gradient becomes before decay and rate, as `optim.name` says."""
  adam = optax.scale_by_adam(optim.b1, optim.b2, mu_dtype=optim.mu_dtype)
  if optim.name == 'adamw':
    return adam

  def label(params: Mapping[str, Any]) -> dict[str, str]:
    axes = param_paths.by_path(MATRICES, params)
    return {path: 'muon' if axes[path] else 'adam' for path in params}

  return optax.partition({'adam': adam, 'muon': _muon(optim.mu_dtype)}, label)


def _muon(mu_dtype: str) -> optax.GradientTransformation:
  """Muon (Jordan, 2024): a matrix moves alike in all directions.

  Its steps are as long as Adam's, so that one rate is right for both.

  Args:
    mu_dtype: of the mean of gradients.
  """

  def axes(updates: Mapping[str, Any]) -> dict[str, Any]:
    """How matrices lie in what is Muon's; the rest is masked, as it is."""
    pairs = param_paths.by_path(MATRICES, updates).items()
    return {
      path: contrib.MuonDimensionNumbers(*pair) if pair else updates[path]
      for path, pair in pairs
    }

  def rescale(updates: dict[str, Any], _: object) -> dict[str, Any]:
    pairs = param_paths.by_path(MATRICES, updates).items()
    return {
      path: updates[path] * _length(updates[path].shape, pair)
      if pair
      else updates[path]
      for path, pair in pairs
    }

  return optax.chain(
    contrib.scale_by_muon(
      beta=MUON_BETA, mu_dtype=mu_dtype, weight_dimension_numbers=axes
    ),
    optax.stateless(rescale),
  )


def _length(shape: tuple[int, ...], axes: Axes) -> float:
  """Of an update whose singular values are one, for MUON_RMS a number."""
  larger = max(math.prod(shape[axis] for axis in side) for side in axes)
  return MUON_RMS * larger**0.5


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

"""Optimiser and schedule, and what parameter paths have to do with them."""

import optax

from visor_jax.runtime import param_paths


def schedule(stage):
  """Linear warm-up, then cosine; step -> learning rate."""
  warmup = max(1, round(stage.warmup * stage.steps))
  return optax.warmup_cosine_decay_schedule(
    stage.learning_rate / (warmup + 1),
    stage.learning_rate,
    warmup,
    max(stage.steps, warmup + 1),
    stage.end_lr_fraction * stage.learning_rate,
  )


def make(optim, stage) -> optax.GradientTransformation:
  """AdamW on a flat dict of parameters.

  Args:
    optim: the config's `optim`.
    stage: the config of the stage.
  """

  def scale(updates, _):
    rates = param_paths.by_path(optim.lr_scales, updates)
    return {path: u * rates[path] for path, u in updates.items()}

  clip = (
    optax.clip_by_global_norm(optim.clip) if optim.clip else (optax.identity())
  )
  return optax.chain(
    clip,
    optax.adamw(
      schedule(stage), optim.b1, optim.b2, weight_decay=optim.weight_decay
    ),
    optax.stateless(scale),
  )

"""What stages minimize: losses of a model on examples.

A loss is a mean over its targets. How one is made for a run, of its config and
the plans that are viable, is what a stage has in its record.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools
from typing import Any
from typing import NamedTuple
from typing import Protocol

import jax
import jax.numpy as jnp
import ml_collections
import optax

from visor_jax.models import linear_cross_entropy
from visor_jax.models import router
from visor_jax.models import visor
from visor_jax.runtime import param_paths
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans

Metrics = dict[str, jax.Array]


class Examples(NamedTuple):
  """What one step learns from.

  Attributes:
    batch: the rows.
    labels: for each prompt what the loss needs: int32 [B, R], an index of a
      viable plan by cost, below 0 for none; or float32 [B, R, plans, 2], score
      and cost of each (see targets.py); None for a loss that needs none.
  """

  batch: batch_lib.Batch
  labels: batch_lib.Array | None = None


class FeatureExamples(NamedTuple):
  """What a step learns from where all that it needs of prompts is kept.

  Attributes:
    features: of the prompts.
    labels: as of `Examples`.
  """

  features: router.Features
  labels: batch_lib.Array


class Loss(Protocol):
  """(model, nested parameters, examples, plan) -> loss and metrics.

  The metric `targets` counts what the loss is the mean of.
  """

  def __call__(
    self,
    model: visor.Visor,
    params: param_paths.Params,
    examples: Examples,
    plan: jax.Array | None,
  ) -> tuple[jax.Array, Metrics]: ...


# (the whole config, viable plans) -> the loss of a stage.
MakeLoss = Callable[[ml_collections.ConfigDict, Sequence[plans.Plan]], Loss]


def answer(
  config: ml_collections.ConfigDict, viable: Sequence[plans.Plan]
) -> Loss:
  """Cross-entropy of answer tokens."""
  return functools.partial(answer_loss, chunk=config.model.loss_chunk)


def policy(
  config: ml_collections.ConfigDict, viable: Sequence[plans.Plan]
) -> Loss:
  """What the router learns by: cross-entropy on labels, or reward."""
  return functools.partial(POLICIES[config.policy.loss], num_plans=len(viable))


def mean_over_reductions(loss: Loss, reductions: Sequence[str]) -> Loss:
  """The mean of a loss over token reductions, as M3 trains all its scales.

  Args:
    loss: of a model with one of them.
    reductions: in the grammar of reduction/grammar.py; '' for all tokens.
  """

  def mean(
    model: visor.Visor,
    params: param_paths.Params,
    examples: Examples,
    plan: jax.Array | None,
  ) -> tuple[jax.Array, Metrics]:
    each = [
      loss(model.with_reduction(reduction), params, examples, plan)
      for reduction in reductions
    ]
    return jax.tree.map(lambda *values: sum(values) / len(values), *each)

  return mean


def answer_loss(
  model: visor.Visor,
  params: param_paths.Params,
  examples: Examples,
  plan: jax.Array | plans.Plan | None,
  chunk: int = 512,
) -> tuple[jax.Array, Metrics]:
  """Mean cross-entropy of answer tokens, each predicted one slot before.

  Args:
    model: that predicts.
    params: its parameters, nested.
    examples: rows with answers.
    plan: see models.visor.Visor.
    chunk: text slots whose logits are held at a time. A row of 4096 over a
      vocabulary of 152,000 would take 2.5 GB, and as much for its gradient.

  Returns:
    loss and metrics: `accuracy` of single tokens, `targets` counted.
  """
  batch = examples.batch

  def apply(*arguments: Any, method: str) -> Any:
    return model.apply({'params': params}, *arguments, method=method)

  hidden, head = apply(batch, plan, method='head_inputs')
  target, weight = batch.tokens[:, 1:], batch.answer[:, 1:]
  loss, right = linear_cross_entropy.linear_cross_entropy(
    hidden[:, :-1], head, target, weight, chunk
  )
  return means(loss, right, weight)


def policy_loss(
  model: visor.Visor,
  params: param_paths.Params,
  examples: Examples | FeatureExamples,
  plan: jax.Array | plans.Plan | None,
  num_plans: int,
) -> tuple[jax.Array, Metrics]:
  """Mean cross-entropy of the router's scores on the labels.

  Args:
    model: with the router.
    params: its parameters, nested.
    examples: prompts, or their features, with labels.
    plan: of layers that no router runs; unused.
    num_plans: how many are viable; the router may have more outputs.

  Returns:
    loss and metrics: `accuracy` of the likeliest plan, `targets` counted.

  Raises:
    ValueError: the examples have no labels.
  """
  scores, labels = _scores(model, params, examples, num_plans)
  weight = labels >= 0
  loss = optax.softmax_cross_entropy_with_integer_labels(
    scores, jnp.maximum(labels, 0)
  )
  right = (scores.argmax(-1) == labels) & weight
  return means(jnp.sum(loss * weight), right.sum(), weight)


def reward_loss(
  model: visor.Visor,
  params: param_paths.Params,
  examples: Examples | FeatureExamples,
  plan: jax.Array | plans.Plan | None,
  num_plans: int,
) -> tuple[jax.Array, Metrics]:
  """Less the mean reward of plans drawn by the router: score - price x cost.

  Every viable plan has answered every question, so the mean over draws is a
  sum: its gradient is exact, and that of the advantage of each plan over the
  others of its question, whatever baseline is taken off. The price is what
  dual ascent has made of the budget so far, see optim.dual_ascent. Entropy has
  a worth, too, so that no plan is given up for good while the price moves: the
  scores of a router that has learned are rewards in units of it.

  Args:
    model: with the router.
    params: its parameters, nested, and `multipliers`, see optim.Multipliers.
    examples: prompts, or their features, with scores and costs of plans.
    plan: of layers that no router runs; unused.
    num_plans: how many are viable; the router may have more outputs.

  Returns:
    loss and metrics: `accuracy` and `spent`, mean score and cost of the plans
    drawn, `price`, `entropy`, `targets` counted.

  Raises:
    ValueError: the examples have no labels.
  """
  price, worth = params['multipliers']
  scores, labels = _scores(model, params, examples, num_plans)
  log_share = jax.nn.log_softmax(scores)
  share = jnp.exp(log_share)
  score, cost = (
    jnp.mean(jnp.sum(share * labels[..., i], axis=-1)) for i in range(2)
  )
  entropy = -jnp.mean(jnp.sum(share * log_share, axis=-1))
  return price * cost - score - worth * entropy, {
    'accuracy': score,
    'spent': cost,
    'price': price,
    'entropy': entropy,
    'targets': jnp.array(scores[..., 0].size),
  }


# By `policy.loss`; targets.py has what each needs.
POLICIES: dict[str, Callable[..., tuple[jax.Array, Metrics]]] = {
  'labels': policy_loss,
  'reward': reward_loss,
}


def _scores(
  model: visor.Visor,
  params: param_paths.Params,
  examples: Examples | FeatureExamples,
  num_plans: int,
) -> tuple[jax.Array, jax.Array]:
  """The router's scores [B, R, viable plans], and the labels beside them."""
  if examples.labels is None:
    raise ValueError(
      'the policy loss needs labels, which training.feeds.LABELLED_PROMPTS has'
    )

  def apply(argument: Any, method: str) -> Any:
    return model.apply({'params': params}, argument, method=method)

  if isinstance(examples, FeatureExamples):
    scores = apply(examples.features, 'scores')
  else:
    scores, _ = apply(examples.batch, 'route')
  return scores[..., :num_plans], jnp.asarray(examples.labels)


def means(
  loss: jax.Array, right: jax.Array, weight: jax.Array
) -> tuple[jax.Array, Metrics]:
  """From sums to a loss and metrics; without targets they are 0.

  Args:
    loss: summed over targets, a scalar.
    right: how many targets the model hits, a scalar.
    weight: bool, which slots are targets.
  """
  targets = weight.sum()
  total = jnp.maximum(targets, 1)
  return loss / total, {'accuracy': right / total, 'targets': targets}

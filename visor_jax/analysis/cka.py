"""How much visual features change on their way: CKA between layers.

Linear CKA (Kornblith et al. 2019) from the unbiased estimator of HSIC (Song et
al. 2012), summed over questions before the ratio is taken (Nguyen et al. 2021):
the examples of one term are the visual tokens of one question, so nothing is
kept of a question but one number for each pair of layers. An image that stands
before the question does not hear of it: families differ by their images alone.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from visor_jax.analysis import layerwise
from visor_jax.eval import generate
from visor_jax.eval import run as eval_run
from visor_jax.models import visor
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans


def measure(
  under_test: eval_run.ModelUnderTest,
  selection: plans.Selection,
  count: int,
  size: int,
  tokens: int = 256,
) -> dict[str, Any]:
  """CKA between the visual features that layers leave, on test questions.

  Args:
    under_test: whose features.
    selection: of one plan, or the base.
    count: questions.
    size: of a batch.
    tokens: at most so many of a question's visual tokens are compared, evenly
      spaced.

  Returns:
    layers [N], those that change the image, after None for what enters the
    decoder; questions {family: n}; cka {family or group: [N, N]}.
  """
  model = under_test.model
  kinds = model.architecture.layout_of(selection.plan)
  values, families = [], []
  for asked, batch in layerwise.questions(
    under_test, count, size, f'cka, plan {selection}'
  ):
    rows = mesh_lib.shard_batch(batch, under_test.mesh)
    terms = similarities(model, under_test.params, rows, kinds, tokens)
    values.append(np.asarray(terms)[: len(asked)])
    families += asked
  # The ratio does not care whether sums or means are divided.
  averages, counts = layerwise.means(
    np.concatenate(values), families, under_test.suite.group
  )
  return layerwise.plain(
    dict(
      layers=changing(model, kinds),
      questions=counts,
      cka={name: ratio(terms) for name, terms in averages.items()},
    )
  )


def changing(model: visor.Visor, kinds: plans.Layout) -> list[int | None]:
  """The layers that change the image, after None."""
  return [None, *_changing(model, kinds)]


def _changing(model: visor.Visor, kinds: plans.Layout) -> list[int]:
  last = model.architecture.last_self(kinds)
  return [layer for layer in kinds.indices(plans.SELF) if layer != last]


def ratio(terms: np.ndarray) -> np.ndarray:
  """HSIC [N, N] to CKA [N, N]; nan where features do not vary."""
  norms = np.sqrt(np.maximum(np.diagonal(terms), 0))
  scale = np.outer(norms, norms)
  return np.divide(
    terms, scale, out=np.full_like(scale, np.nan), where=scale > 0
  )


@functools.partial(jax.jit, static_argnames=('model', 'kinds', 'tokens'))
def similarities(
  model: visor.Visor,
  params: generate.Params,
  batch: batch_lib.Batch,
  kinds: plans.Layout,
  tokens: int,
) -> jax.Array:
  """HSIC between the features of layers, float32 [B, N, N], see `measure`."""
  return generate.apply(
    model, params, batch, kinds, tokens, method=_similarities
  )


def _similarities(
  model: visor.Visor, batch: batch_lib.Batch, kinds: plans.Layout, tokens: int
) -> jax.Array:
  real = batch.visual_segment > 0
  count = real.sum(1)
  slots, counts = jax.vmap(
    functools.partial(spread, tokens=min(tokens, real.shape[1]))
  )(real)
  inputs_of = [0, *(layer + 1 for layer in _changing(model, kinds))]
  features = [
    jnp.take_along_axis(states.visual, slots[..., None], axis=1)
    for layer, states, _ in layerwise.hidden_states_by_layer(
      model, batch, kinds
    )
    if layer in inputs_of
  ]
  terms = jax.vmap(hsic)(jnp.stack(features, axis=1), counts)
  return jnp.where((count >= 4)[:, None, None], terms, jnp.nan)


def spread(real: jax.Array, tokens: int) -> tuple[jax.Array, jax.Array]:
  """Evenly spaced slots among the real ones.

  Args:
    real: bool [V].
    tokens: at most so many.

  Returns:
    int [tokens], and bool [tokens]: which of them count, where there are less.
  """
  count, number = real.sum(), jnp.arange(tokens)
  among = jnp.where(count > tokens, number * count // tokens, number)
  order = jnp.argsort(~real, stable=True)  # the real ones, in order, first
  return order[jnp.minimum(among, real.shape[0] - 1)], number < count


def hsic(features: jax.Array, counts: jax.Array) -> jax.Array:
  """Unbiased HSIC of every pair, with linear kernels.

  Args:
    features: [N, M, D], of the same M examples behind N layers.
    counts: bool [M]; which examples count, at least 4.

  Returns:
    float32 [N, N].
  """
  x, n = features.astype(jnp.float32), counts.sum()
  pairs = counts[:, None] & counts & ~jnp.eye(len(counts), dtype=bool)
  # Kernels do not notice that the mean goes, but float32 does.
  x -= jnp.where(counts[:, None], x, 0).sum(1, keepdims=True) / n
  kernel = jnp.where(pairs, jnp.einsum('NMD,NQD->NMQ', x, x), 0)
  # Centred like this (Szekely and Rizzo 2014), the estimator is a product.
  rows = kernel.sum(2) / (n - 2)
  total = kernel.sum((1, 2)) / ((n - 1) * (n - 2))
  kernel -= rows[:, :, None] + rows[:, None] - total[:, None, None]
  kernel = jnp.where(pairs, kernel, 0)
  return jnp.einsum('NMQ,LMQ->NL', kernel, kernel) / (n * (n - 3))

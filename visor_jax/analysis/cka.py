"""How much visual features change on their way: CKA between layers.

Linear CKA (Kornblith et al. 2019) from the unbiased estimator of HSIC (Song et
al. 2012), summed over questions before the ratio is taken (Nguyen et al. 2021):
the examples of one term are the visual tokens of one question, so nothing is
kept of a question but one number for each pair of layers. An image that stands
before the question does not hear of it: families differ by their images alone.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from visor_jax.analysis import layerwise
from visor_jax.eval import run
from visor_jax.models import visor
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import plan as plans


def measure(
  subject: run.ModelUnderTest,
  selection: plans.Selection,
  count: int,
  size: int,
  tokens: int = 256,
) -> dict:
  """CKA between the visual features that layers leave, on test questions.

  Args:
    subject: whose features.
    selection: of one plan, or the base.
    count: questions.
    size: of a batch.
    tokens: at most so many of a question's visual tokens are compared, evenly
      spaced.

  Returns:
    layers [N], those that change the image, after None for what enters the
    decoder; questions {family: n}; cka {family or group: [N, N]}.
  """
  kinds = layerwise.layout(subject.model, selection.plan)
  rows, every = [], []
  for families, batch in layerwise.questions(
    subject, count, size, f'cka, plan {selection}'
  ):
    found = np.asarray(
      similarities(
        subject.model,
        subject.params,
        mesh_lib.shard_batch(batch, subject.mesh),
        kinds,
        tokens,
      )
    )
    rows.append(found[: len(families)])
    every += families
  # The ratio does not care whether sums or means are divided.
  found, asked = layerwise.means(
    np.concatenate(rows), every, subject.suite.group
  )
  return layerwise.plain(
    dict(
      layers=changing(subject.model, kinds),
      questions=asked,
      cka={name: ratio(hsic) for name, hsic in found.items()},
    )
  )


def changing(model: visor.Visor, kinds: plans.Layout) -> list[int | None]:
  """The layers that change the image, after None."""
  last = -1 if model.architecture.last_visual else kinds.last_self
  return [None, *(i for i in kinds.indices(plans.SELF) if i != last)]


def ratio(hsic) -> np.ndarray:
  """HSIC [N, N] to CKA [N, N]; nan where features do not vary."""
  own = np.sqrt(np.maximum(np.diagonal(hsic), 0))
  scale = np.outer(own, own)
  return np.divide(
    hsic, scale, out=np.full_like(scale, np.nan), where=scale > 0
  )


@functools.partial(jax.jit, static_argnames=('model', 'kinds', 'tokens'))
def similarities(model, params, batch, kinds: plans.Layout, tokens: int):
  """HSIC between the features of layers, float32 [B, N, N], see `measure`."""
  return model.apply({'params': params}, batch, kinds, tokens, method=_features)


def _features(model, batch, kinds, tokens):
  real = batch.visual_segment > 0
  count = real.sum(1)
  at, there = jax.vmap(
    functools.partial(spread, tokens=min(tokens, real.shape[1]))
  )(real)
  after = [0, *(i + 1 for i in changing(model, kinds)[1:])]
  features = [
    jnp.take_along_axis(stream.visual, at[..., None], axis=1)
    for layer, stream, _ in layerwise.hidden_states_by_layer(
      model, batch, kinds
    )
    if layer in after
  ]
  found = jax.vmap(hsic)(jnp.stack(features, axis=1), there)
  return jnp.where((count >= 4)[:, None, None], found, jnp.nan)


def spread(real, tokens: int):
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


def hsic(features, there):
  """Unbiased HSIC of every pair, with linear kernels.

  Args:
    features: [N, M, D], of the same M examples in N places.
    there: bool [M]; which examples count, at least 4.

  Returns:
    float32 [N, N].
  """
  x, n = features.astype(jnp.float32), there.sum()
  both = there[:, None] & there & ~jnp.eye(len(there), dtype=bool)
  # Kernels do not notice that the mean goes, but float32 does.
  x -= jnp.where(there[:, None], x, 0).sum(1, keepdims=True) / n
  kernel = jnp.where(both, jnp.einsum('NMD,NQD->NMQ', x, x), 0)
  # Centred like this (Szekely and Rizzo 2014), the estimator is a product.
  rows = kernel.sum(2) / (n - 2)
  whole = kernel.sum((1, 2)) / ((n - 1) * (n - 2))
  kernel -= rows[:, :, None] + rows[:, None] - whole[:, None, None]
  kernel = jnp.where(both, kernel, 0)
  return jnp.einsum('NMQ,LMQ->NL', kernel, kernel) / (n * (n - 3))

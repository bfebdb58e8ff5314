"""Where the text looked: how the last token of a question shares out attention.

Over the patches of the first image's own tile, averaged over the layers that
read the image under a plan: CROSS layers, which read nothing else, and SELF
layers, of which what goes to the text is left out.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from visor_jax.analysis import layerwise
from visor_jax.eval import asked as asked_lib
from visor_jax.eval import generate
from visor_jax.eval import together
from visor_jax.models import attention
from visor_jax.models import decoder
from visor_jax.models import layer_kinds
from visor_jax.models import positions
from visor_jax.models import visor
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans


def of_question(
  checkpoint: asked_lib.Checkpoint,
  question: together.Question,
  plan: plans.Plan | None,
) -> list[list[float]] | None:
  """Shares of rows of patches, together 1; None where there is no such tile.

  Args:
    checkpoint: who answered.
    question: that was asked.
    plan: that ran.
  """
  model, batch = checkpoint.model, question.prompt.packed.batch
  rows, columns = model.size.vision.grid
  used = np.asarray(batch.visual_segment[0] > 0)
  first = np.asarray(batch.gather_index[0, :, 0]) < rows * columns
  slots = np.flatnonzero(used & first)[: rows * columns]
  if rows * columns < 2 or len(slots) < rows * columns:
    return None
  layout = model.architecture.layout_of(plan)
  shares = np.asarray(_shares(model, checkpoint.params, batch, layout))
  grid = shares[slots].reshape(rows, columns)
  total = grid.sum()
  return (grid / total if total else grid).round(6).tolist()


@functools.partial(jax.jit, static_argnames=('model', 'layout'))
def _shares(
  model: visor.Visor,
  params: generate.Params,
  batch: batch_lib.Batch,
  layout: plans.Layout,
) -> jax.Array:
  """float32 [V], of a batch of one prompt."""
  shares: Any = model.apply({'params': params}, batch, layout, method=_mean)
  return shares


def _mean(
  model: visor.Visor, batch: batch_lib.Batch, layout: plans.Layout
) -> jax.Array:
  of_layers = []
  for layer, hidden, token_layout in layerwise.hidden_states_by_layer(
    model, batch, layout
  ):
    if layer == len(layout.kinds):
      break
    if layout.kinds[layer] == plans.SELF:
      of_layers.append(model.llm.rate(hidden, token_layout, layer)[0])
    if layout.kinds[layer] == plans.CROSS:
      number = layout.indices(plans.CROSS).index(layer)
      of_layers.append(_cross(model.llm, number, hidden, token_layout))
  shares = jnp.stack(of_layers)
  total = jnp.maximum(shares.sum(1, keepdims=True), 1e-9)
  return (shares / total).mean(0)


def _cross(
  llm: decoder.Decoder,
  number: int,
  hidden: layer_kinds.HiddenStates,
  token_layout: positions.TokenLayout,
) -> jax.Array:
  """float32 [V], of a CROSS layer: what its attention is asked is overheard."""
  shares = jnp.zeros(hidden.visual.shape[1])

  def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    query_slots: positions.Slots,
    key_slots: positions.Slots,
    *,
    ordered: bool = False,
  ) -> jax.Array:
    nonlocal shares
    last = token_layout.prompt_end[0, :1]
    asks = positions.Slots(*(x[:, last] for x in query_slots))
    shares = attention.shares(query[:, last], key, asks, key_slots)[0, 0]
    return llm.kinds.attend(
      query, key, value, query_slots, key_slots, ordered=ordered
    )

  kinds = dataclasses.replace(llm.kinds, attend=attend)
  kinds.read(llm.cross_weights(number), hidden, token_layout)
  return shares

"""Where the text looked: how the last token of a question shares out attention.

Over the patches of the first image's own tile, or of all tiles of an image that
is cut into rows, averaged over the layers that read the image under a plan:
CROSS layers, which read nothing else, and SELF layers, of which what goes to
the text is left out.
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
from visor_jax.models import attention_arrays
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
  images: int,
) -> list[list[float]] | None:
  """Shares of rows of patches, together 1; None where there is no such tile.

  Args:
    checkpoint: who answered.
    question: that was asked.
    plan: that ran.
    images: how many it was asked about.
  """
  model, batch = checkpoint.model, question.prompt.packed.batch
  used = np.asarray(batch.visual_segment[0] > 0)
  patch = np.asarray(batch.gather_index[0, :, 0])
  slots = slots_of_patches(used, patch, model.size.vision.grid, images)
  if slots is None:
    return None
  layout = model.architecture.layout_of(plan)
  shares = np.asarray(_shares(model, checkpoint.params, batch, layout))
  grid = shares[slots]
  total = grid.sum()
  return (grid / total if total else grid).round(6).tolist()


def slots_of_patches(
  used: np.ndarray, patch: np.ndarray, grid: tuple[int, int], images: int
) -> np.ndarray | None:
  """Where the patches of a picture stand, [rows, columns].

  Args:
    used: bool [V], of slots.
    patch: int [V], of which patch a slot is made, counted through all tiles.
    grid: rows and columns of patches in a tile.
    images: how many there are.

  Returns:
    None where no tile shows a picture.
  """
  rows, columns = grid
  if rows * columns < 2:
    return None
  if images == 1 and np.array_equal(patch[used], np.arange(used.sum())):
    rows = used.sum() // columns  # tiles one below the other
  slots = np.flatnonzero(used & (patch < rows * columns))[: rows * columns]
  if len(slots) < rows * columns:
    return None
  return slots.reshape(rows, columns)


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
    shares = attention_arrays.shares(query[:, last], key, asks, key_slots)[0, 0]
    return llm.kinds.attend(
      query, key, value, query_slots, key_slots, ordered=ordered
    )

  kinds = dataclasses.replace(llm.kinds, attend=attend)
  kinds.read(llm.cross_weights(number), hidden, token_layout)
  return shares

"""Where text looks: the share of attention that goes to the image, by layer.

Attention is linear in its values. With values that say of what kind a key is,
its output is the share of each kind: the rows of text queries are all that is
computed, never those of the image.

A CROSS layer attends twice, to the image alone and to the text alone; how much
it takes from the image says `read`, which is comparable between all kinds.
"""

from collections.abc import Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from visor_jax.analysis import layerwise
from visor_jax.eval import generate
from visor_jax.eval import run as eval_run
from visor_jax.eval import sampling as sampling_lib
from visor_jax.models import decoder
from visor_jax.models import layer_kinds
from visor_jax.models import positions
from visor_jax.models import visibility
from visor_jax.models import visor
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans

# Of the attention of a question's tokens, and of the slots from which words of
# the answer are predicted, the last of the question first; means over heads and
# tokens that see an image. `read` is the length of what such a token adds to
# itself from the image, over its own.
SHARES = ('question_to_image', 'answer_to_image', 'answer_to_question', 'read')


def measure(
  under_test: eval_run.ModelUnderTest,
  selection: plans.Selection,
  count: int,
  size: int,
) -> dict[str, Any]:
  """Attention shares of a model on test questions and its own answers.

  Args:
    under_test: who answers.
    selection: of one plan, or the base.
    count: questions.
    size: of a batch.

  Returns:
    kinds [L]; questions {family: n}; shares {family or group: {name in SHARES:
    [L]}}, None where no token of that sort sees an image.
  """
  model, suite = under_test.model, under_test.suite
  kinds = model.architecture.layout_of(selection.plan)
  sampling = sampling_lib.Sampling(
    suite.answer_tokens, suite.ends, rules=suite.rules
  )
  values, families = [], []
  for asked, batch in layerwise.questions(
    under_test, count, size, f'attention, plan {selection}'
  ):
    ((_, _, tokens),) = generate.answers(
      model,
      under_test.params,
      [(range(size), mesh_lib.shard_batch(batch, under_test.mesh))],
      selection,
      sampling,
      jax.random.key(0),
    )
    with_answers = mesh_lib.shard_batch(
      answered(batch, tokens, suite.ends), under_test.mesh
    )
    batch_shares = shares(model, under_test.params, with_answers, kinds)
    values.append(np.asarray(batch_shares)[: len(asked)])
    families += asked
  averages, counts = layerwise.means(
    np.concatenate(values), families, suite.group
  )
  return layerwise.plain(
    dict(
      kinds=list(kinds.kinds),
      questions=counts,
      shares={name: dict(zip(SHARES, x.T)) for name, x in averages.items()},
    )
  )


def answered(
  batch: batch_lib.Batch, answers: np.ndarray, ends: Sequence[int]
) -> batch_lib.Batch:
  """The batch with its answers, as far as words are predicted from them.

  The last word of an answer is predicted, but nothing of it from there; so it
  stays out. What a row has no room for does too.

  Args:
    batch: of one prompt a row, in numpy.
    answers: int [B, N], their tokens.
    ends: tokens that end an answer.
  """
  batch = batch.map(np.copy)
  for row, tokens in enumerate(answers):
    words = np.append(np.isin(tokens, ends), True).argmax()
    # Padding has the places that follow the prompt's.
    free = np.flatnonzero(batch.text_segment[row] == 0)[: max(words - 1, 0)]
    batch.tokens[row, free] = tokens[: len(free)]
    batch.text_segment[row, free] = batch.prompt_segment[row, 0]
    batch.answer[row, free] = True
  return batch


@functools.partial(jax.jit, static_argnames=('model', 'layout'))
def shares(
  model: visor.Visor,
  params: generate.Params,
  batch: batch_lib.Batch,
  layout: plans.Layout,
) -> jax.Array:
  """float32 [B, L, SHARES] of a Batch; nan where no token sees an image.

  Args:
    model: the network.
    params: its parameters.
    batch: of one prompt a row, with its answer.
    layout: kinds of the layers, none optional.
  """
  of_batch: Any = model.apply({'params': params}, batch, layout, method=_shares)
  return of_batch


def _shares(
  model: visor.Visor, batch: batch_lib.Batch, layout: plans.Layout
) -> jax.Array:
  prompt = batch.prompt_place[:, :1]
  shares_by_layer = []
  for layer, hidden, token_layout in layerwise.hidden_states_by_layer(
    model, batch, layout
  ):
    if layer == len(layout.kinds):
      break
    targets, read = _layer(
      model.llm, layer, layout, hidden, token_layout, prompt
    )
    text = token_layout.text
    sees = visibility.visible(text, token_layout.visual).any(-1)
    asks = sees & (text.place <= prompt)
    answers = sees & (text.place >= prompt)
    shares_of_layer = (
      _mean(targets[..., 0], asks),
      _mean(targets[..., 0], answers),
      _mean(targets[..., 1], answers),
      _mean(read, sees),
    )
    shares_by_layer.append(jnp.stack(shares_of_layer, axis=-1))
  return jnp.stack(shares_by_layer, axis=1)


def _mean(x: jax.Array, where: jax.Array) -> jax.Array:
  """[B, T] -> [B], over the slots that count; nan where none does."""
  return jnp.where(where, x, 0).sum(1) / where.sum(1)


def _length(x: jax.Array) -> jax.Array:
  """[..., D] -> float32 [...]."""
  return jnp.linalg.norm(x.astype(jnp.float32), axis=-1)


def _layer(
  llm: decoder.Decoder,
  number: int,
  layout: plans.Layout,
  hidden: layer_kinds.HiddenStates,
  token_layout: positions.TokenLayout,
  prompt: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Where each text slot of a layer looks: at image, question, answer.

  Args:
    llm: bound to its parameters.
    number: of the layer.
    layout: kinds of all layers.
    hidden: what flows into the layer.
    token_layout: where the tokens stand.
    prompt: int32 [B, 1], the place that ends the question.

  Returns:
    float32 [B, T, 3], means over heads; [B, T], what it takes from the image.
  """
  kind, text, slots = layout.kinds[number], hidden.text, token_layout.text
  taken = jnp.zeros_like(text)
  if kind == plans.CROSS:
    weights = llm.cross_weights(layout.indices(plans.CROSS).index(number))
    taken, _ = llm.kinds.read(weights, hidden, token_layout)
  # What is looked at, and of which sort each is: image, question or answer.
  x, position, key_slots = text + taken, token_layout.text_position, slots
  asked = slots.place <= prompt
  sorts = jnp.stack([jnp.zeros_like(asked), asked, ~asked], axis=-1)
  if kind == plans.SELF:
    visual = token_layout.visual
    x = jnp.concatenate([x, hidden.visual], axis=1)
    position = positions.join_positions(position, token_layout.visual_position)
    key_slots = positions.join(slots, visual)
    image = jnp.broadcast_to(jnp.arange(3) == 0, (*visual.place.shape, 3))
    sorts = jnp.concatenate([sorts, image], axis=1)
  layer = llm.kinds.layer.bind({'params': llm.weights(number)})
  # Only text asks.
  queries = jnp.broadcast_to(jnp.arange(text.shape[1]), text.shape[:2])
  query, key, value = layer.qkv(x, position, queries)
  attend = functools.partial(
    llm.kinds.attend, query, key, query_slots=slots, key_slots=key_slots
  )
  values = jnp.zeros(value.shape, jnp.float32)
  values = values.at[..., :3].set(sorts[:, :, None])
  targets = attend(values).mean(2)[..., :3]
  if kind == plans.SELF:
    context = attend(jnp.where(sorts[:, :, None, :1], value, 0))
    taken = layer.attention.output(context)
  if kind == plans.CROSS:
    targets = targets.at[..., 0].set(1.0)
  return targets, _length(taken) / jnp.maximum(_length(text), 1e-30)

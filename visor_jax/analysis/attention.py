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
from visor_jax.models import attention as attention_lib
from visor_jax.models import decoder as decoder_lib
from visor_jax.models import layers
from visor_jax.models import token_layout
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
  sampling = generate.Sampling(suite.answer_tokens, suite.ends)
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


@functools.partial(jax.jit, static_argnames=('model', 'kinds'))
def shares(
  model: visor.Visor,
  params: generate.Params,
  batch: batch_lib.Batch,
  kinds: plans.Layout,
) -> jax.Array:
  """float32 [B, L, SHARES] of a Batch; nan where no token sees an image.

  Args:
    model: the network.
    params: its parameters.
    batch: of one prompt a row, with its answer.
    kinds: of the layers, none optional.
  """
  return generate.apply(model, params, batch, kinds, method=_shares)


def _shares(
  model: visor.Visor, batch: batch_lib.Batch, kinds: plans.Layout
) -> jax.Array:
  prompt = batch.prompt_place[:, :1]
  by_layer = []
  for layer, states, tokens in layerwise.hidden_states_by_layer(
    model, batch, kinds
  ):
    if layer == len(kinds.kinds):
      break
    to, read = _layer(model.llm, layer, kinds, states, tokens, prompt)
    sees = attention_lib.visible(tokens.text, tokens.visual).any(-1)
    in_question = sees & (tokens.text.place <= prompt)
    predicts_answer = sees & (tokens.text.place >= prompt)
    by_layer.append(
      jnp.stack(
        [
          _mean(to[..., 0], in_question),
          _mean(to[..., 0], predicts_answer),
          _mean(to[..., 1], predicts_answer),
          _mean(read, sees),
        ],
        axis=-1,
      )
    )
  return jnp.stack(by_layer, axis=1)


def _mean(x: jax.Array, counts: jax.Array) -> jax.Array:
  """[B, T] -> [B], over the slots that count; nan where none does."""
  return jnp.where(counts, x, 0).sum(1) / counts.sum(1)


def _layer(
  decoder: decoder_lib.Decoder,
  number: int,
  kinds: plans.Layout,
  states: decoder_lib.HiddenStates,
  tokens: token_layout.TokenLayout,
  prompt: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Where each text slot of a layer looks: at image, question, answer.

  Args:
    decoder: bound to its parameters.
    number: of the layer.
    kinds: of the layers, none optional.
    states: what flows into the layer.
    tokens: where the tokens stand.
    prompt: int [B, 1], the place of the prompt's last token.

  Returns:
    float32 [B, T, 3], means over heads; [B, T], what it takes from the image.
  """
  kind, text = kinds.kinds[number], states.text
  weights = layers.cast(
    jax.tree.map(lambda x: x[number], decoder.layers), decoder.compute.dtype
  )
  taken = jnp.zeros_like(text)
  if kind == plans.CROSS:
    index = kinds.indices(plans.CROSS).index(number)
    taken = _cross(decoder, index, states, tokens)
  keys, position, slots = text + taken, tokens.text_position, tokens.text
  in_prompt = tokens.text.place <= prompt
  marks = jnp.stack([jnp.zeros_like(in_prompt), in_prompt, ~in_prompt], axis=-1)
  if kind == plans.SELF:
    keys = jnp.concatenate([keys, states.visual], axis=1)
    position = jnp.concatenate([position, tokens.visual_position], axis=1)
    slots = tokens.text + tokens.visual
    image = jnp.arange(3) == 0
    marks = jnp.concatenate(
      [marks, jnp.broadcast_to(image, (*tokens.visual.place.shape, 3))], axis=1
    )
  layer = decoder.layer.bind({'params': weights})
  # Only text asks, everything is looked at.
  asking = jnp.broadcast_to(jnp.arange(text.shape[1]), text.shape[:2])
  query, key, value = layer.qkv(keys, position, asking)
  attend = functools.partial(
    decoder.attend, query, key, query_slots=tokens.text, key_slots=slots
  )
  wide = jnp.zeros(value.shape, jnp.float32)
  to = attend(wide.at[..., :3].set(marks[:, :, None])).mean(2)[..., :3]
  if kind == plans.SELF:
    context = attend(jnp.where(marks[:, :, None, :1], value, 0))
    taken = layer.attention.output(context)
  if kind == plans.CROSS:
    to = to.at[..., 0].set(1.0)
  return to, _length(taken) / jnp.maximum(_length(text), 1e-30)


def _length(x: jax.Array) -> jax.Array:
  return jnp.linalg.norm(x.astype(jnp.float32), axis=-1)


def _cross(
  decoder: decoder_lib.Decoder,
  index: int,
  states: decoder_lib.HiddenStates,
  tokens: token_layout.TokenLayout,
) -> jax.Array:
  """What text takes from the image in a CROSS layer: [B, T, D].

  Args:
    decoder: bound to its parameters.
    index: of the layer among the CROSS layers.
    states: what flows into the layer.
    tokens: where the tokens stand.
  """
  weights = {
    'params': layers.cast(
      jax.tree.map(lambda x: x[index], decoder.cross), decoder.compute.dtype
    )
  }
  keys = decoder.cross_layer.apply(
    weights,
    states.visual,
    tokens.visual,
    tokens.visual_position,
    method='keys',
  )
  return decoder.cross_layer.apply(
    weights,
    states.text,
    keys,
    tokens.text,
    tokens.visual,
    tokens.text_position,
    decoder.attend,
  )

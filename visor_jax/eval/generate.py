"""Generation: a prompt is read once, then tokens come one by one.

The plan is static here, because a layer that is off keeps nothing: one program
for every plan and shape of the batch.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import functools
from typing import Any

import jax
from jax.experimental import multihost_utils
import jax.numpy as jnp
import numpy as np

from visor_jax.eval import logit_rules
from visor_jax.eval import sampling as sampling_lib
from visor_jax.models import decoding
from visor_jax.models import router
from visor_jax.models import visor
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import budget
from visor_jax.spec import plan as plans

Params = Mapping[str, Any]  # nested, of arrays

# The numbers of the questions in the rows of a batch; None fills a row up.
Ids = Sequence[int | None]

# The logits of the prompts' last tokens, float32 [B, C], and what the layers
# keep of the prompts.
Prompt = tuple[jax.Array, decoding.DecodeState]

# The numbers of some questions, the plan that ran (None for the dense base),
# and the tokens of their answers, int32 [n, tokens].
Answers = tuple[list[int], plans.Plan | None, np.ndarray]


def apply(
  model: visor.Visor, params: Params, *args: Any, method: str | Callable
) -> Any:
  """What a method of the network gives with these parameters."""
  return model.apply({'params': params}, *args, method=method)


@functools.partial(jax.jit, static_argnames=('model', 'plan'))
def prefill(
  model: visor.Visor,
  params: Params,
  batch: batch_lib.Batch,
  plan: plans.Plan | None,
) -> Prompt:
  """models.visor.Visor.prefill, compiled."""
  return apply(model, params, batch, plan, method='prefill')


@functools.partial(jax.jit, static_argnames='model')
def route(
  model: visor.Visor, params: Params, batch: batch_lib.Batch
) -> tuple[jax.Array, visor.Routed]:
  """Router scores [B, plans], and what `resume` goes on from."""
  scores, routed = apply(model, params, batch, method='route')
  return scores[:, 0], routed


@functools.partial(jax.jit, static_argnames=('model', 'plan'))
def resume(
  model: visor.Visor,
  params: Params,
  routed: visor.Routed,
  batch: batch_lib.Batch,
  plan: plans.Plan | None,
) -> Prompt:
  """`prefill` that goes on from `route`: nothing is computed twice."""
  return apply(model, params, routed, batch, plan, method='prefill_after_route')


@functools.partial(jax.jit, static_argnames=('model', 'plan', 'sampling'))
def decode(
  model: visor.Visor,
  params: Params,
  batch: batch_lib.Batch,
  logits: jax.Array,
  prompt: decoding.DecodeState,
  plan: plans.Plan | None,
  sampling: sampling_lib.Sampling,
  key: jax.Array,
) -> jax.Array:
  """Tokens behind the prompts, until every row has ended.

  Args:
    model: the network.
    params: its parameters.
    batch: of the prompts, for the rules of the checkpoint.
    logits: of the prompts' last tokens, float32 [B, C].
    prompt: what the layers keep of the prompts.
    plan: the plan under which the prompts were read.
    sampling: how to draw.
    key: of the draw; a row's tokens depend on its place in the batch.

  Returns:
    int32 [B, tokens].
  """
  rows, end = logits.shape[0], sampling.ends[0]
  prompts = logit_rules.prompts(
    batch, sampling.rules.image_token, sampling.tokens
  )

  def draw(
    logits: jax.Array, number: jax.Array | int, tokens: jax.Array
  ) -> jax.Array:
    so_far = logit_rules.with_answers(prompts, tokens, number)
    return sampling_lib.draw(
      sampling, logits, so_far, number, jax.random.fold_in(key, number)
    )

  def ends(token: jax.Array) -> jax.Array:
    return jnp.isin(token, jnp.array(sampling.ends))

  def more(state: tuple) -> jax.Array:
    number, _, done, _ = state
    return (number < sampling.tokens) & ~done.all()

  def step(state: tuple) -> tuple:
    number, tokens, done, cache = state
    token = tokens[:, number - 1]
    logits, cache = apply(
      model,
      params,
      token,
      prompt,
      plan,
      cache,
      number - 1,
      method='decode',
    )
    token = jnp.where(done, end, draw(logits, number, tokens))
    tokens = tokens.at[:, number].set(token)
    return number + 1, tokens, done | ends(token), cache

  tokens = jnp.full((rows, sampling.tokens), end, jnp.int32)
  first = draw(logits, 0, tokens)
  tokens = tokens.at[:, 0].set(first)
  cache = apply(
    model, params, rows, sampling.tokens, method='init_decode_cache'
  )
  state = jnp.int32(1), tokens, ends(first), cache
  return jax.lax.while_loop(more, step, state)[1]


def answers(
  model: visor.Visor,
  params: Params,
  batches: Iterable[tuple[Ids, batch_lib.Batch]],
  selection: plans.Selection,
  sampling: sampling_lib.Sampling,
  key: jax.Array,
  viable: Sequence[plans.Plan] = (),
  confidence: budget.Confidence = None,
) -> Iterator[Answers]:
  """Answers to batches of prompts; of one shape, those of one plan together.

  Args:
    model: the network.
    params: its parameters.
    batches: prompts, all of as many rows. On several processes a Batch is
      global and its ids those of all its rows.
    selection: which plan, or who chooses it.
    sampling: how to draw.
    key: of the draw.
    viable: plans that the router chooses from, by cost.
    confidence: of its choice, see models.router.choose.

  Yields:
    A group at a time, in the order in which groups fill up; the same in all
    processes.
  """

  def finish(
    ids: Ids, batch: batch_lib.Batch, prompt: Prompt, plan: plans.Plan | None
  ) -> Answers:
    tokens = to_host(decode(model, params, batch, *prompt, plan, sampling, key))
    rows = [row for row, number in enumerate(ids) if number is not None]
    return [number for number in ids if number is not None], plan, tokens[rows]

  if selection.selector != 'router':
    for ids, batch in batches:
      prompt = prefill(model, params, batch, selection.plan)
      yield finish(ids, batch, prompt, selection.plan)
    return
  for ids, rows, plan in _grouped_by_plan(
    model, params, batches, viable, confidence
  ):
    yield finish(ids, rows[1], resume(model, params, *rows, plan), plan)


Rows = tuple[visor.Routed, batch_lib.Batch]


def _grouped_by_plan(
  model: visor.Visor,
  params: Params,
  batches: Iterable[tuple[Ids, batch_lib.Batch]],
  viable: Sequence[plans.Plan],
  confidence: budget.Confidence,
) -> Iterator[tuple[Ids, Rows, plans.Plan]]:
  """Batches of one plan and shape, of prompts for which the router chose it.

  The last of each is filled up with rows whose id is None.
  """
  # Plan and shapes -> ids, and rows of which the first are theirs.
  waiting: dict[tuple, tuple[list, Rows]] = {}
  size = 0
  for ids, batch in batches:
    size = len(ids)
    shapes = tuple(
      x.shape for x in (batch.tokens, batch.gather_index, batch.tiles)
    )
    scores, routed = route(model, params, batch)
    drawn = None
    if isinstance(confidence, budget.Mix):
      drawn = _question_hash(batch, model.size.vision.patches)
    # Groups are formed of the choices of all, or processes would part ways.
    chosen = to_host(router.choose(scores, len(viable), confidence, drawn))
    asked = [row for row, question in enumerate(ids) if question is not None]
    for number, plan in enumerate(viable):
      new = [row for row in asked if chosen[row] == number]
      waiting_ids, waiting_rows = waiting.pop(
        (plan, shapes), ([], (routed, batch))
      )
      group = waiting_ids + [ids[row] for row in new]
      # In the rows that wait and these, one behind the other.
      indices = [*range(len(waiting_ids)), *(size + row for row in new)]
      for first in range(0, len(group), size):
        part = group[first : first + size]
        rows = _take_rows(
          waiting_rows,
          (routed, batch),
          np.resize(indices[first : first + size], size),
        )
        if len(part) == size:
          yield part, rows, plan
        else:
          waiting[plan, shapes] = part, rows
  for (plan, _), (part, rows) in waiting.items():
    yield part + [None] * (size - len(part)), rows, plan


def to_host(x: jax.Array) -> np.ndarray:
  """All of a global array, in every process."""
  return multihost_utils.process_allgather(x, tiled=True)


_question_hash = jax.jit(router.question_hash, static_argnames='patches')


@jax.jit
def _take_rows(first: Rows, second: Rows, index: jax.Array) -> Rows:
  """The rows `index` of two batches, one behind the other."""

  def take(axis: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    return lambda a, b: jnp.take(jnp.concatenate([a, b], axis), index, axis)

  (routed, batch), (other, other_batch) = first, second
  hidden = jax.tree.map(take(0), routed.hidden, other.hidden)
  layout = jax.tree.map(take(0), routed.token_layout, other.token_layout)
  # [count, B, ...]
  caches = jax.tree.map(take(1), routed.caches, other.caches)
  both = jax.tree.map(take(0), batch, other_batch)
  return visor.Routed(hidden, layout, caches), both

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
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from visor_jax.eval import logit_rules
from visor_jax.eval import plan_groups
from visor_jax.eval import sampling as sampling_lib
from visor_jax.models import backbone
from visor_jax.models import caches as caches_lib
from visor_jax.models import decoding
from visor_jax.models import positions
from visor_jax.models import visor
from visor_jax.runtime import cluster
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import budget
from visor_jax.spec import plan as plans

Params = Mapping[str, Any]  # nested, of arrays

Ids = plan_groups.Ids

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


@functools.partial(jax.jit, static_argnames='model')
def read_tiles(
  model: visor.Visor, params: Params, tiles: jax.Array, tile_grid: jax.Array
) -> backbone.PatchFeatures:
  """models.visor.Visor.read_tiles, compiled."""
  return apply(model, params, tiles, tile_grid, method='read_tiles')


@functools.partial(jax.jit, static_argnames=('model', 'plan'))
def prefill(
  model: visor.Visor,
  params: Params,
  batch: batch_lib.Batch,
  plan: plans.Plan | None,
  images: caches_lib.ReadImages = caches_lib.UNREAD,
) -> Prompt:
  """models.visor.Visor.prefill, compiled."""
  return apply(model, params, batch, plan, images, method='prefill')


@functools.partial(jax.jit, static_argnames='model')
def route(
  model: visor.Visor,
  params: Params,
  batch: batch_lib.Batch,
  images: caches_lib.ReadImages = caches_lib.UNREAD,
) -> tuple[jax.Array, visor.Routed]:
  """Router scores [B, plans], and what `resume` goes on from."""
  scores, routed = apply(model, params, batch, images, method='route')
  return scores[:, 0], routed


@functools.partial(jax.jit, static_argnames=('model', 'plan'))
def resume(
  model: visor.Visor,
  params: Params,
  routed: visor.Routed,
  batch: batch_lib.Batch,
  plan: plans.Plan | None,
  images: caches_lib.ReadImages = caches_lib.UNREAD,
) -> Prompt:
  """`prefill` that goes on from `route`: nothing is computed twice."""
  method = 'prefill_after_route'
  return apply(model, params, routed, batch, plan, images, method=method)


@jax.jit
def of_images(
  caches: tuple[caches_lib.SpanCaches, ...],
  token_layouts: tuple[positions.TokenLayout, ...],
) -> tuple[caches_lib.SpanImages, ...]:
  """models.caches.of_images of every span of layers, compiled."""
  return tuple(map(caches_lib.of_images, caches, token_layouts))


class Growing(NamedTuple):
  """Answers that are not finished."""

  number: jax.Array  # int32 [], how many tokens of a row are there
  tokens: jax.Array  # int32 [B, tokens]; the end fills what is not there
  done: jax.Array  # bool [B], the row has ended
  cache: decoding.NewCache
  prompts: logit_rules.Sequences  # for the rules of the checkpoint
  key: jax.Array  # of the draw; a row's tokens depend on its place in the batch


@functools.partial(jax.jit, static_argnames=('model', 'sampling'))
def begin(
  model: visor.Visor,
  params: Params,
  batch: batch_lib.Batch,
  logits: jax.Array,
  sampling: sampling_lib.Sampling,
  key: jax.Array,
) -> Growing:
  """The first token of answers, and room for those that follow.

  Args:
    model: the network.
    params: its parameters.
    batch: of the prompts.
    logits: of their last tokens, float32 [B, C].
    sampling: how to draw.
    key: of the draw.
  """
  rows, end = logits.shape[0], sampling.ends[0]
  tokens = jnp.full((rows, sampling.tokens), end, jnp.int32)
  cache = apply(
    model, params, rows, sampling.tokens, method='init_decode_cache'
  )
  prompts = logit_rules.prompts(
    batch, sampling.rules.image_token, sampling.tokens
  )
  done = jnp.zeros(rows, bool)
  empty = Growing(jnp.int32(0), tokens, done, cache, prompts, key)
  return _append(empty, logits, sampling)


@functools.partial(jax.jit, static_argnames=('model', 'plan', 'sampling'))
def extend(
  model: visor.Visor,
  params: Params,
  prompt: decoding.DecodeState,
  plan: plans.Plan | None,
  sampling: sampling_lib.Sampling,
  growing: Growing,
  count: int | jax.Array,
) -> Growing:
  """More tokens, until every row has ended or has so many.

  Args:
    model: the network.
    params: its parameters.
    prompt: what the layers keep of the prompts.
    plan: the plan under which the prompts were read.
    sampling: how to draw, as it was begun.
    growing: the tokens so far.
    count: of tokens, at most `sampling.tokens`.
  """
  layers = apply(model, params, prompt, plan, method='decode_layers')

  def more(growing: Growing) -> jax.Array:
    return (growing.number < count) & ~growing.done.all()

  def step(growing: Growing) -> Growing:
    last = growing.number - 1
    token = growing.tokens[:, last]
    state = token, prompt, plan, growing.cache, last, layers
    logits, cache = apply(model, params, *state, method='decode')
    return _append(growing._replace(cache=cache), logits, sampling)

  return jax.lax.while_loop(more, step, growing)


def grow(
  model: visor.Visor,
  params: Params,
  batch: batch_lib.Batch,
  prompt: Prompt,
  plan: plans.Plan | None,
  sampling: sampling_lib.Sampling,
  key: jax.Array,
  chunk: int,
) -> Iterator[np.ndarray]:
  """`decode` as it comes, so many tokens more each time."""
  logits, state = prompt
  growing = begin(model, params, batch, logits, sampling, key)
  yield np.asarray(growing.tokens)[:, : int(growing.number)]
  while growing.number < sampling.tokens and not growing.done.all():
    count = min(int(growing.number) + chunk, sampling.tokens)
    growing = extend(model, params, state, plan, sampling, growing, count)
    yield np.asarray(growing.tokens)[:, : int(growing.number)]


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
  """Answers to their end, int32 [B, tokens]; see `begin` and `extend`."""
  growing = begin(model, params, batch, logits, sampling, key)
  return extend(
    model, params, prompt, plan, sampling, growing, sampling.tokens
  ).tokens


def _append(
  growing: Growing, logits: jax.Array, sampling: sampling_lib.Sampling
) -> Growing:
  """With a token drawn from logits, float32 [B, C]."""
  number, tokens = growing.number, growing.tokens
  token = sampling_lib.draw(
    sampling,
    logits,
    logit_rules.with_answers(growing.prompts, tokens, number),
    number,
    jax.random.fold_in(growing.key, number),
  )
  token = jnp.where(growing.done, sampling.ends[0], token)
  return growing._replace(
    number=number + 1,
    tokens=tokens.at[:, number].set(token),
    done=growing.done | jnp.isin(token, jnp.array(sampling.ends)),
  )


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
    tokens = cluster.to_host(
      decode(model, params, batch, *prompt, plan, sampling, key)
    )
    rows = [row for row, number in enumerate(ids) if number is not None]
    return [number for number in ids if number is not None], plan, tokens[rows]

  if selection.selector != 'router':
    for ids, batch in batches:
      prompt = prefill(model, params, batch, selection.plan)
      yield finish(ids, batch, prompt, selection.plan)
    return
  for ids, rows, plan in plan_groups.grouped(
    functools.partial(route, model, params),
    batches,
    viable,
    confidence,
    model.size.vision.patches,
  ):
    yield finish(ids, rows[1], resume(model, params, *rows, plan), plan)

"""Generation: a prompt is read once, then tokens come one by one.

The plan is static here, because a layer that is off keeps nothing: one program
for every plan and shape of the batch.
"""

import dataclasses
import functools

import jax
from jax.experimental import multihost_utils
import jax.numpy as jnp
import numpy as np

from visor_jax.flops import cost as flops
from visor_jax.models import decoder
from visor_jax.models import router
from visor_jax.models import visor
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import budget
from visor_jax.spec import plan as plans


@dataclasses.dataclass(frozen=True)
class Sampling:
  """How tokens are drawn.

  Attributes:
    tokens: the most to make.
    ends: tokens after which a row is done; the first fills the rest of it.
    temperature: 0 takes the likeliest token.
    top_p: draw among the likeliest tokens that together have this probability.
  """

  tokens: int
  ends: tuple[int, ...]
  temperature: float = 0.0
  top_p: float = 1.0


@functools.partial(jax.jit, static_argnames=('model', 'plan'))
def prefill(model, params, batch, plan):
  """models.visor.Visor.prefill, compiled."""
  return model.apply({'params': params}, batch, plan, method='prefill')


@functools.partial(jax.jit, static_argnames='model')
def route(model, params, batch):
  """Router scores [B, plans], and what `resume` goes on from."""
  scores, routed = model.apply({'params': params}, batch, method='route')
  return scores[:, 0], routed


@functools.partial(jax.jit, static_argnames=('model', 'plan'))
def resume(model, params, routed, batch, plan):
  """`prefill` that goes on from `route`: nothing is computed twice."""
  return model.apply(
    {'params': params}, routed, batch, plan, method='prefill_after_route'
  )


@functools.partial(jax.jit, static_argnames=('model', 'plan', 'sampling'))
def decode(model, params, logits, memory, plan, sampling: Sampling, key):
  """Tokens behind the prompts, until every row has ended.

  Args:
    model: a models.visor.Visor.
    params: nested.
    logits: of `prefill`, float32 [B, C].
    memory: of `prefill`.
    plan: of `prefill`.
    sampling: how to draw.
    key: of the draw; a row's tokens depend on its place in the batch.

  Returns:
    int32 [B, tokens].
  """
  b, end = logits.shape[0], sampling.ends[0]
  apply = functools.partial(model.apply, {'params': params})

  def draw(logits, number, done):
    token = _draw(logits, sampling, jax.random.fold_in(key, number))
    return jnp.where(done, end, token)

  def ends(token):
    return jnp.isin(token, jnp.array(sampling.ends))

  def more(state):
    number, made, done, _ = state
    return (number < sampling.tokens) & ~done.all()

  def step(state):
    number, made, done, fresh = state
    logits, fresh = apply(
      made[:, number - 1], memory, plan, fresh, number - 1, method='decode'
    )
    token = draw(logits, number, done)
    return number + 1, made.at[:, number].set(token), done | ends(token), fresh

  first = draw(logits, 0, jnp.zeros(b, bool))
  made = jnp.full((b, sampling.tokens), end, jnp.int32).at[:, 0].set(first)
  fresh = apply(b, sampling.tokens, method='init_decode_cache')
  state = jnp.int32(1), made, ends(first), fresh
  return jax.lax.while_loop(more, step, state)[1]


def _draw(logits, sampling, key):
  """float32 [B, C] -> int32 [B]."""
  if sampling.temperature == 0:
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)
  logits = logits / sampling.temperature
  if sampling.top_p < 1:
    order = jnp.argsort(-logits, axis=-1)
    ranked = jnp.take_along_axis(logits, order, axis=-1)
    probability = jax.nn.softmax(ranked, axis=-1)
    # A token stays while those before it have not reached top_p.
    before = jnp.cumsum(probability, axis=-1) - probability
    ranked = jnp.where(before < sampling.top_p, ranked, -jnp.inf)
    logits = jnp.put_along_axis(logits, order, ranked, axis=-1, inplace=False)
  return jax.random.categorical(key, logits, axis=-1).astype(jnp.int32)


def answers(
  model,
  params,
  batches,
  selection: plans.Selection,
  sampling: Sampling,
  key,
  viable=(),
  confidence=None,
):
  """Answers to batches of prompts; of one shape, those of one plan together.

  Args:
    model: a models.visor.Visor.
    params: nested.
    batches: of (ids, Batch), all of as many rows; those with id None fill up.
      On several processes a Batch is global and its ids those of all its rows.
    selection: which plan, or who chooses it.
    sampling: how to draw.
    key: of the draw.
    viable: plans that the router chooses from, by cost.
    confidence: of its choice, see models.router.choose.

  Yields:
    (ids, plan or None for the base, int32 [n, tokens]), a group at a time, in
    the order in which groups fill up; the same in all processes.
  """

  def finish(ids, made, plan):
    tokens = to_host(decode(model, params, *made, plan, sampling, key))
    here = [i for i, number in enumerate(ids) if number is not None]
    return [ids[i] for i in here], plan, tokens[here]

  if selection.selector != 'router':
    for ids, batch in batches:
      made = prefill(model, params, batch, selection.plan)
      yield finish(ids, made, selection.plan)
    return
  waiting = {}  # plan, shape -> ids, and rows that begin with theirs
  resumed = lambda ids, rows, plan: finish(
    ids, resume(model, params, *rows, plan), plan
  )
  for ids, batch in batches:
    size, shape = (
      len(ids),
      tuple(x.shape for x in (batch.tokens, batch.gather_index, batch.tiles)),
    )
    scores, routed = route(model, params, batch)
    # Groups are formed of the choices of all, or processes would part ways.
    luck = (
      _luck(batch, model.size.vision.patches)
      if isinstance(confidence, budget.Mix)
      else None
    )
    chosen = to_host(router.choose(scores, len(viable), confidence, luck))
    for number, plan in enumerate(viable):
      came = [i for i in np.flatnonzero(chosen == number) if ids[i] is not None]
      held, rows = waiting.pop((plan, shape), ([], (routed, batch)))
      everyone = held + [ids[i] for i in came]
      where = [*range(len(held)), *(size + i for i in came)]
      for first in range(0, len(everyone), size):
        some = everyone[first : first + size]
        picked = _pick(
          rows, (routed, batch), np.resize(where[first : first + size], size)
        )
        if len(some) == size:
          yield resumed(some, picked, plan)
        else:
          waiting[plan, shape] = some, picked
  for (plan, _), (ids, rows) in waiting.items():
    yield resumed(ids + [None] * (size - len(ids)), rows, plan)


def to_host(x) -> np.ndarray:
  """All of a global array, in every process."""
  return multihost_utils.process_allgather(x, tiled=True)


_luck = jax.jit(router.question_hash, static_argnames='patches')


@jax.jit
def _pick(held, came, index):
  """The rows `index` of what is held and what came, one behind the other."""

  def pick(axis):
    return lambda a, b: jnp.take(jnp.concatenate([a, b], axis), index, axis)

  (stream, caches), batch = held
  (stream_, caches_), batch_ = came
  return (
    (
      jax.tree.map(pick(0), stream, stream_),
      jax.tree.map(pick(1), caches, caches_),
    ),  # [count, B, ...]
    jax.tree.map(pick(0), batch, batch_),
  )


@functools.lru_cache(maxsize=None)
def prefill_flops(
  architecture: architecture_lib.Architecture,
  plan: plans.Plan | None,
  visual: int,
  text: int,
  routing: int = 0,
) -> int:
  """Nominal LLM prefill FLOPs of a prompt.

  Args:
    architecture: the model's.
    plan: the plan that ran, None for the dense base.
    visual: visual tokens.
    text: text tokens.
    routing: 1 where the router chose the plan.
  """
  return flops.cost(
    architecture, plan, visual, text, routing=routing
  ).llm_prefill


@functools.lru_cache(maxsize=None)
def costs(
  model: visor.Visor,
  plan: plans.Plan | None,
  visual: int,
  text: int,
  tiles: int,
  tokens: int,
  routing: int = 0,
) -> dict[str, int]:
  """What a question took, in nominal FLOPs; see eval.results.rows.

  Args:
    model: the network that answered.
    plan: the plan that ran, None for the dense base.
    visual: visual tokens.
    text: text tokens of the prompt.
    tiles: tiles that the vision tower read.
    tokens: tokens of the answer, its end included.
    routing: 1 where the router chose the plan.
  """
  asked = model.architecture
  all_tokens = dataclasses.replace(asked, reduction='')
  # Inside of the dense decoder tokens are dropped where no plan is.
  largest = asked if plan is not None else all_tokens
  tower = flops.cost(all_tokens, None, visual, text, tiles=tiles)
  vision = tower.vision + tower.connector
  llm = prefill_flops(asked, plan, visual, text, routing)
  base_llm = prefill_flops(all_tokens, None, visual, text)
  decode = flops.decode(asked, plan, visual, text, tokens, tiles=tiles)
  base_decode = flops.decode(all_tokens, None, visual, text, tokens)
  itemsize = jnp.dtype(model.compute.dtype).itemsize
  return dict(
    llm_prefill_flops=llm,
    visual_flops=llm - prefill_flops(asked, plan, 0, text, routing),
    vision_flops=vision,
    decode_flops=decode,
    total_flops=vision + llm + decode,
    tokens=tokens,
    cache_bytes=sum(
      flops.cache(asked, plan, visual, text, itemsize, tiles=tiles)
    ),
    max_prefill_flops=prefill_flops(largest, asked.layout.max, visual, text),
    base_prefill_flops=base_llm,
    base_total_flops=vision + base_llm + base_decode,
  )


def count(tokens, ends) -> int:
  """Tokens of an answer, its end included."""
  ended = np.flatnonzero(np.isin(tokens, ends))
  return int(ended[0]) + 1 if len(ended) else len(tokens)


def cache_bytes(memory) -> tuple[int, int]:
  """Bytes that a prompt's memory takes, of text slots and of visual slots."""
  text = memory.rows[0].text.place.shape[1]
  of_text = of_image = 0
  size = lambda x: x.size * x.dtype.itemsize
  for cache in jax.tree.leaves(
    memory.caches, is_leaf=lambda x: isinstance(x, decoder.Cache)
  ):
    for x in cache.own:
      share = size(x) // x.shape[2]  # [count, B, S, K, H]
      of_text += share * text
      of_image += share * (x.shape[2] - text)
    of_image += sum(map(size, jax.tree.leaves(cache.read)))
  return of_text, of_image

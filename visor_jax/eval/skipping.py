"""Which layers visual tokens can skip: those whose loss is heard least.

Each part of a method is tried alone on a few questions: how far does what the
dense base says of the next token go from what it says without it
(Kullback-Leibler divergence)? Layers that are skipped are computed all the same
and thrown away, so one program tries all.

Legend: B batch, L layers, C vocabulary.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from visor_jax.data import protocols
from visor_jax.eval import costs
from visor_jax.eval import generate
from visor_jax.eval import questions as questions_lib
from visor_jax.eval import run as run_lib
from visor_jax.models import layer_kinds
from visor_jax.models import positions
from visor_jax.models import visor
from visor_jax.reduction import method
from visor_jax.reduction import skips
from visor_jax.runtime import console
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import shares as shares_lib

STREAM, QUESTIONS = 'search', 64

Array = np.ndarray | jax.Array
Works = tuple[Array, Array]  # bool [L], VisualWork of every layer


def shares(
  architecture: architecture_lib.Architecture, suite: protocols.Suite
) -> Callable[[skips.Skips], float]:
  """Setting -> what it takes of the base's LLM prefill FLOPs.

  Args:
    architecture: the model's.
    suite: whose questions are asked, of the mean length.
  """
  lengths = questions_lib.mean_lengths(suite, STREAM, QUESTIONS)
  base = costs.prefill_flops(architecture.base, None, *lengths)

  def share(setting: skips.Skips) -> float:
    reduced = dataclasses.replace(architecture, reduction=str(setting))
    return costs.prefill_flops(reduced, None, *lengths) / base

  return share


def check(
  architecture: architecture_lib.Architecture,
  suite: protocols.Suite,
  searches: Sequence[skips.Search],
) -> None:
  """Raises a ValueError where a method cannot be as cheap as it should."""
  if not searches:
    return
  share = shares(architecture, suite)
  for search in searches:
    least = share(search.method.cheapest(architecture.depth))
    if least > search.share:
      raise ValueError(
        f'eval.reduce has "{search}": with questions as long as here that '
        f'method takes {shares_lib.at_least(least, 2)} of the LLM prefill '
        'FLOPs of the base at the least'
      )


def find(
  under_test: run_lib.ModelUnderTest,
  searches: Sequence[skips.Search],
  size: int,
) -> dict[method.Reduction, skips.Skips]:
  """The settings of methods that change least of what the dense base says.

  Args:
    under_test: the base on all visual tokens.
    searches: the methods, and what they may cost; `check` lets them pass.
    size: of a batch.
  """
  depth = under_test.model.architecture.depth
  parts = dict.fromkeys(
    part for each in searches for part in each.method.alone(depth)
  )
  divergence = dict(zip(parts, divergences(under_test, [*parts], size)))
  share = shares(under_test.model.architecture, under_test.suite)
  settings: dict[method.Reduction, skips.Skips] = {}
  for search in searches:
    most = search.share
    setting = search.method.chosen(
      divergence, lambda setting: share(setting) <= most, depth
    )
    console.log(
      f'{search} is {setting}, {share(setting):.3f} of the base, by '
      f'{QUESTIONS} questions of {STREAM}'
    )
    settings[search] = setting
  return settings


def divergences(
  under_test: run_lib.ModelUnderTest,
  settings: Sequence[skips.Skips],
  size: int,
) -> np.ndarray:
  """How far each setting leads from the base, in nats, a mean of questions.

  Args:
    under_test: the base on all visual tokens.
    settings: what is tried.
    size: of a batch.

  Returns:
    float [settings].
  """
  model, every = under_test.model, method.Reduction()
  numbers = under_test.suite.fit(STREAM, QUESTIONS).numbers
  totals = np.zeros(len(settings))
  progress = console.Progress('layers without visual tokens', len(numbers))
  done = 0
  for questions in questions_lib.batches(
    under_test.suite, STREAM, numbers, size, under_test.mesh
  ):
    batch = under_test.shard(questions)
    asked = np.array([number is not None for number in questions.ids])
    says = functools.partial(
      _log_probabilities, model, under_test.params, batch
    )
    base = says(_works(every, model))
    totals += [
      float(_divergence(base, says(_works(setting, model)), asked))
      for setting in settings
    ]
    done += int(asked.sum())
    progress.line(done)
  return totals / done


def _works(reduction: method.Reduction, model: visor.Visor) -> Works:
  """What the layers do under a method."""
  works = [
    reduction.visual_work(layer) for layer in range(model.architecture.depth)
  ]
  attention, mlp = map(np.array, zip(*works))
  return attention, mlp


@jax.jit
def _divergence(
  base: jax.Array, other: jax.Array, asked: jax.Array
) -> jax.Array:
  """Sum over questions: float32 [B, C] twice, and whether a row is one."""
  return jnp.sum((jnp.exp(base) * (base - other)).sum(axis=1) * asked)


@functools.partial(jax.jit, static_argnames='model')
def _log_probabilities(
  model: visor.Visor,
  params: generate.Params,
  batch: batch_lib.Batch,
  works: Works,
) -> jax.Array:
  """Of the token behind the prompts, float32 [B, C]; works are traced."""
  return generate.apply(model, params, batch, works, method=log_probabilities)


def log_probabilities(
  model: visor.Visor, batch: batch_lib.Batch, works: Works
) -> jax.Array:
  """Of the token behind the prompts, float32 [B, C].

  Args:
    model: bound to its parameters.
    batch: prompts, one a row.
    works: what the dense base's layers do to visual tokens.
  """
  hidden, token_layout = model.prepare_inputs(batch)
  hidden = run_layers(model, hidden, token_layout, works)
  last = token_layout.prompt_end[:, 0]
  rows = jnp.arange(last.shape[0])
  logits = model.logits(hidden.text[rows, last][:, None])[:, 0]
  return jax.nn.log_softmax(logits)


def run_layers(
  model: visor.Visor,
  hidden: layer_kinds.HiddenStates,
  token_layout: positions.TokenLayout,
  works: Works,
) -> layer_kinds.HiddenStates:
  """All layers of the dense base; arguments as above."""
  for layer in range(model.architecture.depth):
    attention, mlp = (work[layer] for work in works)
    hidden = _layer(model, layer, hidden, token_layout, attention, mlp)
  return hidden


def _layer(
  model: visor.Visor,
  number: int,
  hidden: layer_kinds.HiddenStates,
  token_layout: positions.TokenLayout,
  attention: Array,
  mlp: Array,
) -> layer_kinds.HiddenStates:
  """A layer of the base, which may leave visual tokens as they were."""
  kinds, t = model.llm.kinds, hidden.text.shape[1]
  layer = kinds.layer.bind({'params': model.llm.weights(number)})
  is_text = jnp.arange(t + hidden.visual.shape[1]) < t

  def where_it_works(
    half: Callable[[jax.Array], jax.Array], both: jax.Array, works: Array
  ) -> jax.Array:
    return jnp.where((is_text | works)[:, None], half(both), both)

  def attend(both: jax.Array) -> jax.Array:
    to, back = token_layout.order, token_layout.place
    x, merged = positions.permute(both, to, back), token_layout.merged
    query, key, value = layer.qkv(x, token_layout.merged_position)
    context = kinds.attend(query, key, value, merged, merged, ordered=True)
    return positions.permute(layer.attended(x, context), back, to)

  both = jnp.concatenate(hidden, axis=1)
  both = where_it_works(attend, both, attention)
  both = where_it_works(layer.feed_forward, both, mlp)
  return layer_kinds.HiddenStates(both[:, :t], both[:, t:])

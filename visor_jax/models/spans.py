"""Spans of layers that run in one go, and what happens between them.

The router stops and thinks, or visual tokens are rated and dropped.
"""

import jax
import jax.numpy as jnp

from visor_jax.models import caches as caches_lib
from visor_jax.models import decoder
from visor_jax.models import decoding
from visor_jax.models import layer_kinds
from visor_jax.models import positions
from visor_jax.models import router
from visor_jax.reduction import grammar
from visor_jax.reduction import method
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans

# A plan is one of
#   a bool array [n_optional]: traced, one program serves all plans;
#   a tuple of bools: static, layers that are off do not exist;
#   None: the dense base model.
StaticPlan = plans.Plan | None
AnyPlan = jax.Array | StaticPlan

HiddenStates = layer_kinds.HiddenStates


def resolve(
  architecture: architecture_lib.Architecture, plan: AnyPlan
) -> tuple[plans.Layout, jax.Array | None]:
  """The kinds of all layers, and the plan where it is traced.

  Raises:
    ValueError: the plan has not as many entries as there are optional layers.
  """
  layout = architecture.layout
  if plan is None or isinstance(plan, tuple):
    return architecture.layout_of(plan), None
  if plan.shape != (len(layout.optional),):
    raise ValueError(
      f'a plan of {plan.shape[0]} optional SELF layers for a model that '
      f'has {len(layout.optional)}'
    )
  return layout, plan


def of_plan(
  architecture: architecture_lib.Architecture, plan: AnyPlan
) -> tuple[range, ...]:
  """Spans of all layers: cut by the router or, of the base, by the reduction.

  Raises:
    ValueError: the reduction goes with the base alone.
  """
  depth, split = architecture.depth, architecture.before_self
  reduction = grammar.single(architecture.reduction)
  if plan is None:
    ends = sorted({0, depth, *reduction.layers(depth)})
    return tuple(map(range, ends, ends[1:]))
  if reduction.base_alone(depth):
    raise ValueError(
      f'token reduction "{reduction}" changes the dense decoder and goes with '
      'plan base alone'
    )
  return range(split), range(split, depth)


def run(
  llm: decoder.Decoder,
  hidden: HiddenStates,
  token_layout: positions.TokenLayout,
  plan: AnyPlan,
) -> HiddenStates:
  """Runs all layers."""
  spans = of_plan(llm.architecture, plan)
  layout, traced = resolve(llm.architecture, plan)
  if plan is not None:  # nothing happens in between: they are one span
    return llm.run(hidden, token_layout, layout, traced)
  between = _Between(llm)
  for span in spans:
    hidden, token_layout = between(span.start, hidden, token_layout)
    hidden = llm.run(hidden, token_layout, layout, span=span)
  return hidden


def prefill(
  llm: decoder.Decoder,
  hidden: HiddenStates,
  token_layout: positions.TokenLayout,
  plan: StaticPlan,
  skip: int = 0,
  images: tuple[caches_lib.SpanImages, ...] = (),
) -> tuple[
  HiddenStates,
  tuple[caches_lib.SpanCaches, ...],
  tuple[positions.TokenLayout, ...],
]:
  """Runs spans of layers, all but the first `skip`.

  With what all spans kept of the same `images` before, the text alone is run.

  Returns:
    Hidden states; of each span, what it keeps, and the token layout that it
    saw.

  Raises:
    ValueError: the plan is traced.
  """
  if not (plan is None or isinstance(plan, tuple)):
    raise ValueError('a cache has a shape: give the plan as a tuple')
  layout, _ = resolve(llm.architecture, plan)
  between = _Between(llm)
  caches, token_layouts = [], []
  spans = of_plan(llm.architecture, plan)
  for span, image in [*zip(spans, images or [None] * len(spans))][skip:]:
    hidden, token_layout = between(span.start, hidden, token_layout)
    hidden, cache = llm.prefill(hidden, token_layout, layout, span, image)
    caches.append(cache)
    token_layouts.append(token_layout)
  return hidden, tuple(caches), tuple(token_layouts)


def decode_layers(
  llm: decoder.Decoder, state: decoding.DecodeState, plan: StaticPlan
) -> tuple[tuple[decoding.Layer, ...], ...]:
  """`Decoder.decode_layers` of every span that left something in `state`."""
  layout, _ = resolve(llm.architecture, plan)
  return tuple(
    llm.decode_layers(caches, layout, span)
    for span, caches in zip(
      of_plan(llm.architecture, plan), state.caches, strict=True
    )
  )


def look_on(
  llm: decoder.Decoder, token: jax.Array, prompts: router.Prompts
) -> jax.Array:
  """What routing tokens find in prompts, in the layers before the router.

  Args:
    llm: the decoder.
    token: their embedding, [D].
    prompts: what these layers have left.

  Returns:
    [B, R, D].
  """
  onlookers = decoding.onlookers(prompts.token_layout)
  tokens = jnp.broadcast_to(
    token.astype(llm.compute.dtype), (*onlookers.position.shape, token.size)
  )
  layers = llm.decode_layers(
    jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), prompts.caches),
    llm.architecture.layout,
    range(llm.architecture.before_self),
  )
  read, _ = llm.decode(layers, (tokens, None), onlookers, prompts.token_layout)
  return read


class _Between:
  """The reduction between layers, which may ask for attention further up."""

  def __init__(self, llm: decoder.Decoder) -> None:
    self._llm = llm
    self._reduction = grammar.single(llm.architecture.reduction)
    self._layers = self._reduction.layers(llm.architecture.depth)
    self._reached: dict[int, tuple[HiddenStates, positions.TokenLayout]] = {}

  def __call__(
    self, layer: int, hidden: HiddenStates, token_layout: positions.TokenLayout
  ) -> tuple[HiddenStates, positions.TokenLayout]:
    """What flows into a layer, of what reaches it."""
    if layer not in self._layers:
      return hidden, token_layout
    self._reached[layer] = hidden, token_layout
    tokens = self._reduction.between_layers(
      layer, method.VisualTokens(hidden.visual, token_layout), self._rate
    )
    hidden = hidden._replace(visual=tokens.visual)
    self._reached[layer] = hidden, tokens.token_layout
    return self._reached[layer]

  def _rate(self, layer: int) -> jax.Array:
    return self._llm.rate(*self._reached[layer], layer)

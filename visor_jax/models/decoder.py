"""The decoder: base layers, each applied as TEXT, CROSS or SELF.

Weights are stacked, `layers` [L, ...] and `cross` [n_cross, ...]; kinds are
not in the tree. Runs of layers that repeat are scanned, an optional SELF layer
is a `lax.cond` on its entry in the plan: one program for every plan, and what
is off is not computed.

Legend: B batch, T text, V visual, D width, C vocabulary, L layers, M room for
new tokens, K key heads, H head width.
"""

from collections.abc import Sequence
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.models import attention
from visor_jax.models import caches as caches_lib
from visor_jax.models import compute as compute_lib
from visor_jax.models import cross_attention
from visor_jax.models import decoding
from visor_jax.models import layer_kinds
from visor_jax.models import layers
from visor_jax.models import params
from visor_jax.models import positions
from visor_jax.models import rating
from visor_jax.models import scanning
from visor_jax.models import sharding
from visor_jax.reduction import grammar
from visor_jax.reduction import method
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes

_Inputs = tuple[layer_kinds.Weights, jax.Array | None, Any]


class Decoder(nn.Module):
  """A Qwen2-shaped decoder with CROSS layers beside its own.

  The layout that a call is given says which kinds the layers have. It need
  not be the architecture's, but has as many CROSS layers, or none.
  """

  architecture: architecture_lib.Architecture
  compute: compute_lib.Compute = compute_lib.Compute()

  @property
  def size(self) -> sizes.Language:
    """Widths and depth."""
    return self.architecture.size.language

  def setup(self) -> None:
    size, cross = self.size, self.architecture.cross
    self.embedding = params.param(
      self,
      'embedding',
      (size.vocabulary, size.width),
      ('vocabulary', 'embed'),
      nn.initializers.normal(size.width**-0.5),
    )
    if not size.tied:
      self.head = params.param(
        self, 'head', (size.width, size.vocabulary), ('embed', 'vocabulary')
      )
    self.kinds = layer_kinds.LayerKinds(
      layer=layers.Layer(size, parent=None),
      cross_layer=cross_attention.named(cross.module)(size, cross, parent=None),
      attend=functools.partial(attention.attend, compute=self.compute),
    )
    self.layers = self.param(
      'layers', params.stacked(self._init_layer, size.depth)
    )
    crosses = self.architecture.layout.indices(plans.CROSS)
    if crosses:
      self.cross = self.param(
        'cross', params.stacked(self._init_cross, len(crosses))
      )
    self.norm = layers.RMSNorm(size.norm_eps)

  def _init_layer(self, key: jax.Array) -> params.Tree:
    x, position = jnp.zeros((1, 1, self.size.width)), jnp.zeros((1, 1), int)
    init = self.kinds.layer.init(key, x, position, method='init_all')
    return init['params']

  def _init_cross(self, key: jax.Array) -> params.Tree:
    x = jnp.zeros((1, 1, self.size.width))
    position = jnp.zeros((1, 1), jnp.int32)
    slots = positions.Slots(position, position)

    def touch(module: cross_attention.CrossAttention) -> jax.Array:
      keys = module.keys(x, slots, position)
      return module(x, keys, slots, slots, position, self.kinds.attend)

    return self.kinds.cross_layer.init(key, method=touch)['params']

  def embed(self, tokens: jax.Array) -> jax.Array:
    """int32 [B, T] -> [B, T, D]."""
    # Rows are cast, not the table: else its gradient would be the sum over all
    # tokens in that dtype.
    rows = sharding.constrain_table_rows(self.embedding[tokens])
    return sharding.constrain_slots(rows.astype(self.compute.dtype))

  def logits(self, text: jax.Array) -> jax.Array:
    """[B, T, D] -> float32 [B, T, C]."""
    return params.dense(*self.head_inputs(text), dtype=jnp.float32)

  def head_inputs(self, text: jax.Array) -> tuple[jax.Array, jax.Array]:
    """[B, T, D] -> what the output head multiplies, [B, T, D] and [D, C]."""
    head = self.embedding.T if self.size.tied else self.head
    text = self.norm(text).astype(self.compute.dtype)
    return text, head.astype(text.dtype)

  def run(
    self,
    hidden: layer_kinds.HiddenStates,
    token_layout: positions.TokenLayout,
    layout: plans.Layout,
    plan: jax.Array | None = None,
    span: range | None = None,
  ) -> layer_kinds.HiddenStates:
    """Runs a span of layers.

    Args:
      hidden: what flows in.
      token_layout: where the tokens stand.
      layout: the kinds of all layers.
      plan: bool [n_optional], may be traced; None where nothing is optional.
      span: the layers; None for all.
    """
    for repeat in self._repeats(layout, span):
      hidden, _ = self._run_repeat(
        hidden, token_layout, layout, plan, repeat, keep=False
      )
    return hidden

  def prefill(
    self,
    hidden: layer_kinds.HiddenStates,
    token_layout: positions.TokenLayout,
    layout: plans.Layout,
    span: range | None = None,
    images: caches_lib.SpanImages | None = None,
  ) -> tuple[layer_kinds.HiddenStates, caches_lib.SpanCaches]:
    """`run` that also returns what the layers keep for `decode`.

    What an optional layer would keep depends on the plan: none of the span may
    be optional, see `Layout.fix`. Where `images` are known, text alone is run.
    """
    caches = []
    repeats = self._repeats(layout, span)
    for repeat, image in zip(repeats, images or [None] * len(repeats)):
      hidden, cache = self._run_repeat(
        hidden, token_layout, layout, None, repeat, True, image
      )
      caches.append(cache)
    return hidden, tuple(caches)

  def _repeats(
    self, layout: plans.Layout, span: range | None
  ) -> Sequence[plans.Repeat]:
    """The layers of a span, cut into what can be scanned."""
    span = range(self.size.depth) if span is None else span
    if not self.compute.scan:
      return [plans.Repeat(i, 1, 1) for i in span]
    return plans.repeats(layout, span.start, span.stop, self._works(layout))

  def _works(self, layout: plans.Layout) -> tuple[method.VisualWork, ...]:
    """What each layer, as SELF, does to visual tokens."""
    return grammar.visual_works(self.architecture, layout)

  def _roles(
    self, layout: plans.Layout, repeat: plans.Repeat
  ) -> tuple[layer_kinds.Role, ...]:
    """What the layers of a period do."""
    works = self._works(layout)
    return tuple(
      layer_kinds.Role(layout.kinds[i], i in layout.optional, works[i])
      for i in range(repeat.start, repeat.start + repeat.period)
    )

  def _weights(
    self, layout: plans.Layout, repeat: plans.Repeat
  ) -> layer_kinds.Weights:
    """Weights with leaves [count, those of a period, ...]."""
    crosses = layout.indices(plans.CROSS)
    end = repeat.start + repeat.period * repeat.count
    layers = params.uncast(self.layers, self.compute.dtype)
    weights = scanning.cut(layers, range(self.size.depth), repeat)
    if not any(repeat.start <= i < end for i in crosses):
      return layer_kinds.Weights(weights, None)
    cross = params.uncast(self.cross, self.compute.dtype)
    cross = scanning.cut(cross, crosses, repeat)
    return layer_kinds.Weights(weights, cross)

  def _run_repeat(
    self,
    hidden: layer_kinds.HiddenStates,
    token_layout: positions.TokenLayout,
    layout: plans.Layout,
    plan: jax.Array | None,
    repeat: plans.Repeat,
    keep: bool,
    image: tuple[caches_lib.ImageCache, ...] | None = None,
  ) -> tuple[layer_kinds.HiddenStates, tuple[caches_lib.LayerCache, ...]]:
    """Equal periods of layers: a scan, or a single period."""
    roles = self._roles(layout, repeat)
    optional = any(role.optional for role in roles)
    if optional and plan is None:
      raise ValueError(f'no plan for optional layers among {repeat}')
    plan = scanning.cut(plan, layout.optional, repeat) if optional else None

    def body(
      hidden: layer_kinds.HiddenStates, inputs: _Inputs
    ) -> tuple[layer_kinds.HiddenStates, Any]:
      weights, plan, image = inputs
      weights = params.cast(weights, self.compute.dtype)
      hidden, caches = self.kinds.period(
        roles, hidden, token_layout, weights, plan, image
      )
      return hidden, caches if keep else None

    return scanning.scan(
      scanning.remat(body, self.compute, prevent_cse=repeat.count == 1),
      hidden,
      (self._weights(layout, repeat), plan, image),
      repeat.count,
    )

  def weights(self, layer: int) -> params.Tree:
    """A layer's parameters, in the dtype that is computed in."""
    layers = params.take_layer(self.layers, layer)
    return params.cast(layers, self.compute.dtype)

  def cross_weights(self, number: int) -> params.Tree:
    """A cross attention's parameters, counted among CROSS layers."""
    cross = params.take_layer(self.cross, number)
    return params.cast(cross, self.compute.dtype)

  def rate(
    self,
    hidden: layer_kinds.HiddenStates,
    token_layout: positions.TokenLayout,
    layer: int,
  ) -> jax.Array:
    """float32 [B, V], the attention of a layer, see rating.rate."""
    bound = self.kinds.layer.bind({'params': self.weights(layer)})
    return rating.rate(bound, hidden, token_layout)

  def init_decode_cache(self, rows: int, tokens: int) -> decoding.NewCache:
    """Empty room for the keys and values of so many new tokens a row."""
    size = self.size
    shape = (size.depth, rows, tokens, size.key_heads, size.head_width)
    return (jnp.zeros(shape, self.compute.dtype),) * 2

  def decode_layers(
    self,
    caches: caches_lib.SpanCaches,
    layout: plans.Layout,
    span: range | None = None,
  ) -> tuple[decoding.Layer, ...]:
    """What `decode` needs of the layers of a span.

    Taken from the stacks, and cast, once for all tokens: a scan over layers
    would copy every weight for each of them.

    Args:
      caches: what `prefill` of these layers left.
      layout: that the caches are of; nothing in the span is optional.
      span: the layers; None for all.
    """
    crosses = layout.indices(plans.CROSS)
    repeats = self._repeats(layout, span)
    return tuple(
      decoding.Layer(
        number := repeat.start + count * repeat.period + i,
        layout.kinds[number],
        self.weights(number),
        self.cross_weights(crosses.index(number))
        if number in crosses
        else None,
        params.take_layer(cache, count),
      )
      for repeat, of_repeat in zip(repeats, caches, strict=True)
      for count in range(repeat.count)
      for i, cache in enumerate(of_repeat)
    )

  def decode(
    self,
    layers: tuple[decoding.Layer, ...],
    state: decoding.State[decoding.Before],
    token: decoding.NewToken | decoding.Onlookers,
    prompt: positions.TokenLayout,
  ) -> decoding.State[decoding.Before]:
    """Runs tokens behind a prompt through layers, see `decoding.run_layer`."""
    for layer in layers:
      state = decoding.run_layer(self.kinds, layer, state, token, prompt)
    return state

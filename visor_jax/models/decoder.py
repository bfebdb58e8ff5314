"""The decoder: base layers, each applied as TEXT, CROSS or SELF.

Weights are stacked, `layers` [L, ...] and `cross` [n_cross, ...]; kinds are
not in the tree. Runs of layers that repeat are scanned, an optional SELF layer
is a `lax.cond` on its bit of the plan: one program for every plan, and what is
off is not computed.

Legend: B batch, T text, R routing tokens, V visual, S = T + V, D width.
"""

import functools
from typing import Any
from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.models import attention
from visor_jax.models import compute as compute_lib
from visor_jax.models import cross_attention
from visor_jax.models import layers
from visor_jax.models import token_layout
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes


class Cache(NamedTuple):
  """What a layer keeps of the prompt for the tokens to come."""

  own: tuple  # (key, value) [B, S, K, H]: of the text; in SELF of the image too
  read: Any = None  # in CROSS: what its module's `keys` made of the image


class DecodeState(NamedTuple):
  """The prompt as a new token sees it."""

  caches: tuple  # of stretches, Repeats, layers of a period: Cache [count, ...]
  rows: tuple[token_layout.TokenLayout, ...]  # of stretches
  segment: jax.Array  # int32 [B], of the conversation that goes on
  position: jax.Array  # int32 [B], of its next token


class HiddenStates(NamedTuple):
  """What flows through the layers."""

  text: jax.Array  # [B, T (+ R), D]: routing tokens, if any, come last
  visual: jax.Array  # [B, V, D]
  route: attention.Slots | None = None  # [B, R]
  route_position: jax.Array | None = None


class Decoder(nn.Module):
  """A Qwen2-shaped decoder with CROSS layers beside its own."""

  architecture: architecture_lib.Architecture
  compute: compute_lib.Compute = compute_lib.Compute()

  @property
  def size(self) -> sizes.Language:
    """Widths and depth."""
    return self.architecture.size.language

  @property
  def layout(self) -> plans.Layout:
    """The kinds that the parameters were made for."""
    return self.architecture.layout

  def setup(self):
    size, cross = self.size, self.architecture.cross
    self.embedding = layers.param(
      self,
      'embedding',
      (size.vocabulary, size.width),
      ('vocabulary', 'embed'),
      jax.nn.initializers.normal(size.width**-0.5),
    )
    if not size.tied:
      self.head = layers.param(
        self, 'head', (size.width, size.vocabulary), ('embed', 'vocabulary')
      )
    self.layer = layers.Layer(size, parent=None)
    x, at = jnp.zeros((1, 1, size.width)), jnp.zeros((1, 1), jnp.int32)
    slots = attention.Slots(at, at)
    self.layers = self.param(
      'layers',
      layers.stacked(
        lambda key: self.layer.init(key, x, at, method='init_all')['params'],
        size.depth,
      ),
    )
    self.cross_layer = cross_attention.named(cross.module)(
      size, cross, parent=None
    )
    if self.layout.indices(plans.CROSS):
      self.cross = self.param(
        'cross',
        layers.stacked(
          lambda key: self.cross_layer.init(
            key, x, x, slots, slots, at, at, self.attend, method=_read
          )['params'],
          len(self.layout.indices(plans.CROSS)),
        ),
      )
    self.norm = layers.RMSNorm(size.norm_eps)

  def embed(self, tokens):
    """int32 [B, T] -> [B, T, D]."""
    return layers.constrain_batch(
      self.embedding.astype(self.compute.dtype)[tokens]
    )

  def logits(self, text):
    """[B, T, D] -> float32 [B, T, C]."""
    head = self.embedding.T if self.size.tied else self.head
    dtype = self.compute.dtype
    return layers.dense(
      self.norm(text).astype(dtype), head.astype(dtype), dtype=jnp.float32
    )

  @property
  def attend(self):
    return functools.partial(
      attention.attend,
      packed=self.compute.packed,
      chunk=self.compute.chunk,
      implementation=self.compute.attention,
    )

  def run(
    self,
    stream: HiddenStates,
    rows: token_layout.TokenLayout,
    layout: plans.Layout,
    bits=None,
    start: int = 0,
    stop: int | None = None,
  ) -> HiddenStates:
    """Runs layers start..stop.

    Args:
      stream: what flows in.
      rows: the batch's geometry.
      layout: kinds of the layers; need not be the one the module was made
        with, but has as many CROSS layers, or none.
      bits: bool [n_optional], the plan; None where nothing is optional.
      start: first layer.
      stop: one past the last layer, None for the depth.
    """
    return self.prefill(stream, rows, layout, bits, start, stop, keep=False)[0]

  def prefill(
    self,
    stream: HiddenStates,
    rows: token_layout.TokenLayout,
    layout: plans.Layout,
    bits=None,
    start: int = 0,
    stop: int | None = None,
    keep: bool = True,
  ) -> tuple[HiddenStates, tuple]:
    """`run` that also returns what its layers keep, as `Memory.caches`.

    What an optional layer keeps depends on the plan: where something is to be
    kept, make the plan a fact (`Layout.fix`).
    """
    kept = []
    for part in self._parts(layout, start, stop):
      stream, caches = self._repeat(stream, rows, layout, bits, part, keep)
      kept.append(caches)
    return stream, tuple(kept)

  def _parts(self, layout, start=0, stop=None):
    """Layers start..stop as Repeats."""
    stop = self.size.depth if stop is None else stop
    if not self.compute.scan:
      return tuple(plans.Repeat(i, 1, 1) for i in range(start, stop))
    return plans.repeats(layout, start, stop, self._last(layout))

  def _last(self, layout):
    """The SELF layer that leaves the image as it was; -1 for none."""
    return -1 if self.architecture.last_visual else layout.last_self

  def _weights(self, layout, part):
    """Weights of a Repeat, [count, per period, ...] each, and its kinds."""
    end = part.start + part.period * part.count
    crosses = layout.indices(plans.CROSS)
    xs = {'layers': _cut(self.layers, range(self.size.depth), part)}
    if any(part.start <= i < end for i in crosses):
      xs['cross'] = _cut(self.cross, crosses, part)
    period = range(part.start, part.start + part.period)
    return xs, [
      (layout.kinds[i], i in layout.optional, i == self._last(layout))
      for i in period
    ]

  def _repeat(self, stream, rows, layout, bits, part, keep):
    """One stretch of equal periods: a scan, or a single period."""
    xs, kinds = self._weights(layout, part)
    if any(optional for _, optional, _ in kinds):
      xs['bits'] = _cut(bits, layout.optional, part)

    def body(flow, xs):
      xs = self._cast(xs)
      stream_, caches = self._period(
        stream._replace(text=flow[0], visual=flow[1]), rows, kinds, xs
      )
      return (stream_.text, stream_.visual), caches if keep else None

    body = layers.remat(body, self.compute, prevent_cse=part.count == 1)
    flow, caches = _scan(body, (stream.text, stream.visual), xs, part.count)
    return stream._replace(text=flow[0], visual=flow[1]), caches

  def _cast(self, xs):
    """The weights among xs in the dtype that is computed in."""
    return {
      name: layers.cast(x, self.compute.dtype)
      if name in ('layers', 'cross')
      else x
      for name, x in xs.items()
    }

  def _period(self, stream, rows, kinds, xs):
    """The layers of one period, one after the other; and what they keep."""
    of = lambda name, i: jax.tree.map(lambda x: x[i], xs[name])
    crosses = bits = 0
    kept = []
    for i, (kind, optional, last) in enumerate(kinds):
      weights, read = of('layers', i), None
      if kind == plans.SELF and optional:
        stream, own = self._optional(
          weights, stream, rows, xs['bits'][bits], last
        )
        bits += 1
      elif kind == plans.SELF:
        stream, own = self._self(weights, stream, rows, last)
      else:
        if kind == plans.CROSS:
          stream, read = self._cross(of('cross', crosses), stream, rows)
          crosses += 1
        stream, own = self._text(weights, stream, rows)
      kept.append(Cache(own, read))
    return stream, tuple(kept)

  def _optional(self, weights, stream, rows, bit, last):
    def on(text, visual):
      s = stream._replace(text=text, visual=visual)
      s, _ = self._self(weights, s, rows, last)
      return s.text, s.visual

    def off(text, visual):
      s = stream._replace(text=text, visual=visual)
      return self._text(weights, s, rows)[0].text, visual

    # Checkpointed, because a cond saves for both branches what either needs
    # in the backward pass: the zeros of a branch that is off cost as much as
    # the attention they stand for.
    text, visual = jax.lax.cond(
      bit, jax.checkpoint(on), jax.checkpoint(off), stream.text, stream.visual
    )
    return stream._replace(text=text, visual=visual), None

  def _self(self, weights, stream, rows, last=False):
    """The base layer over text and image in the row's own order.

    The `last` layer that touches the image leaves it as it was.
    """
    if stream.route is not None:
      raise ValueError('a routing token cannot pass a SELF layer')
    t = stream.text.shape[1]
    both = jnp.concatenate([stream.text, stream.visual], axis=1)
    both = token_layout.permute(both, rows.order, rows.place)
    layer = self.layer.bind({'params': weights})
    if last:
      query, key, value = layer.qkv(both, rows.position, rows.text.place)
      context = self.attend(query, key, value, rows.text, rows.merged)
      text = layer.output(layers.take_slots(both, rows.text.place), context)
      return stream._replace(text=text), (key, value)
    query, key, value = layer.qkv(both, rows.position)
    context = self.attend(
      query, key, value, rows.merged, rows.merged, ordered=True
    )
    both = layer.output(both, context)
    both = token_layout.permute(both, rows.place, rows.order)
    stream = stream._replace(text=both[:, :t], visual=both[:, t:])
    return stream, (key, value)

  def _text(self, weights, stream, rows):
    """The base layer over the text alone; routing tokens only look on."""
    t = rows.text.place.shape[1]
    layer = self.layer.bind({'params': weights})
    query, key, value = layer.qkv(stream.text, _position(stream, rows))
    key, value = key[:, :t], value[:, :t]
    context = self.attend(
      query[:, :t], key, value, rows.text, rows.text, ordered=True
    )
    if stream.route is not None:
      routed = self.attend(query[:, t:], key, value, stream.route, rows.text)
      context = jnp.concatenate([context, routed], axis=1)
    text = layer.output(stream.text, context)
    return stream._replace(text=text), (key, value)

  def _cross(self, weights, stream, rows):
    """Adds what text and routing tokens read of the image; and its keys."""
    slots = rows.text if stream.route is None else rows.text + stream.route
    read, keys = self.cross_layer.apply(
      {'params': weights},
      stream.text,
      stream.visual,
      slots,
      rows.visual,
      _position(stream, rows),
      rows.visual_position,
      self.attend,
      method=_read,
    )
    return stream._replace(
      text=layers.constrain_batch(stream.text + read)
    ), keys

  def rate(
    self, stream: HiddenStates, rows: token_layout.TokenLayout, layer: int
  ):
    """How much of a prompt's last token's attention a visual token gets.

    Of a conversation with several prompts the last counts. Scores are computed
    of these few rows alone.

    Args:
      stream: what flows into the layer.
      rows: the batch's geometry.
      layer: whose attention it is.

    Returns:
      float32 [B, V], averaged over heads.
    """
    weights = layers.cast(
      jax.tree.map(lambda x: x[layer], self.layers), self.compute.dtype
    )
    query, key = self.layer.bind({'params': weights}).query_key(
      jnp.concatenate([stream.text, stream.visual], axis=1),
      jnp.concatenate([rows.text_position, rows.visual_position], axis=1),
      rows.end,
    )
    share = attention.shares(query, key, rows.prompt, rows.text + rows.visual)
    segment, place = rows.prompt
    later = (segment[:, None] == segment[:, :, None]) & (
      place[:, None] > place[:, :, None]
    )
    asks = (segment[:, :, None] == rows.visual.segment[:, None]) & ~(
      later.any(axis=2)[:, :, None]
    )
    return jnp.max(
      jnp.where(asks, share[:, :, stream.text.shape[1] :], 0), axis=1, initial=0
    )

  def init_decode_cache(self, rows: int, tokens: int):
    """Empty room for the keys and values of new tokens, [L, B, N, K, H]."""
    size = self.size
    shape = (size.depth, rows, tokens, size.key_heads, size.head_width)
    return (jnp.zeros(shape, self.compute.dtype),) * 2

  def decode(
    self,
    text,
    caches,
    rows: token_layout.TokenLayout,
    memory: DecodeState,
    layout: plans.Layout,
    fresh,
    number,
    start: int = 0,
    stop: int | None = None,
  ):
    """Runs one new token through layers start..stop.

    Args:
      text: [B, 1, D].
      caches: what `prefill` of these layers kept.
      rows: the prompt's geometry there.
      memory: where the prompt stands.
      layout: that they were kept for; nothing in it is optional.
      fresh: (key, value) [L, B, N, K, H], of the new tokens before this one.
      number: int32, which new token it is, counted from 0.
      start: first layer.
      stop: one past the last layer, None for the depth.

    Returns:
      text, and `fresh` with this token in it.
    """
    count = fresh[0].shape[2]
    places = rows.place.shape[1] + jnp.arange(count)
    new = attention.Slots(
      *jnp.broadcast_arrays(
        memory.segment[:, None], places.astype(jnp.int32)[None]
      )
    )
    here = attention.Slots(
      new.segment[:, :1],
      jnp.full_like(new.place[:, :1], rows.place.shape[1]) + number,
    )
    position = memory.position[:, None] + number
    flow = text, fresh
    parts = self._parts(layout, start, stop)
    for part, kept in zip(parts, caches, strict=True):
      xs, kinds = self._weights(layout, part)
      xs |= {
        'caches': kept,
        'index': _cut(
          jnp.arange(self.size.depth), range(self.size.depth), part
        ),
      }

      def body(flow, xs, kinds=kinds):
        return self._decode_period(
          *flow, rows, kinds, self._cast(xs), new, here, position, number
        ), None

      flow, _ = _scan(body, flow, xs, part.count)
    return flow

  def _decode_period(
    self, text, fresh, rows, kinds, xs, new, here, position, number
  ):
    """The layers of one period on one new token."""
    of = lambda name, i: jax.tree.map(lambda x: x[i], xs[name])
    crosses = 0
    for i, (kind, *_) in enumerate(kinds):
      cache, index = xs['caches'][i], xs['index'][i]
      if kind == plans.CROSS:
        text += self.cross_layer.apply(
          {'params': of('cross', crosses)},
          text,
          cache.read,
          here,
          rows.visual,
          position,
          self.attend,
        )
        crosses += 1
      slots = rows.merged if kind == plans.SELF else rows.text

      layer = self.layer.bind({'params': of('layers', i)})
      query, *new_pair = layer.qkv(text, position)
      fresh = tuple(
        jax.lax.dynamic_update_slice(all_, one[None], (index, 0, number, 0, 0))
        for all_, one in zip(fresh, new_pair)
      )
      context = attention.attend_parts(
        query, here, ((*cache.own, slots), (*(x[index] for x in fresh), new))
      )
      text = layer.output(text, context)
    return text, fresh


def _cut(tree, indices, part: plans.Repeat):
  """A Repeat's own entries of what is stacked by `indices` of layers.

  Returns:
    The tree with leaves [count, per period, ...].
  """
  end = part.start + part.period * part.count
  first = sum(i < part.start for i in indices)
  length = sum(part.start <= i < end for i in indices)
  return jax.tree.map(
    lambda x: x[first : first + length].reshape(
      part.count, length // part.count, *x.shape[1:]
    ),
    tree,
  )


def _scan(body, flow, xs, count):
  """`lax.scan`, written out where there is one period only."""
  if count > 1:
    return jax.lax.scan(body, flow, xs)
  flow, ys = body(flow, jax.tree.map(lambda x: x[0], xs))
  return flow, jax.tree.map(lambda y: y[None], ys)


def _position(stream, rows):
  if stream.route is None:
    return rows.text_position
  return jnp.concatenate([rows.text_position, stream.route_position], axis=1)


def _read(
  module, text, visual, slots, visual_slots, position, visual_position, attend
):
  """A cross attention's two methods in one."""
  keys = module.keys(visual, visual_slots, visual_position)
  return module(text, keys, slots, visual_slots, position, attend), keys

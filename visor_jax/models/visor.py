"""The whole model: vision, connector, decoder and router.

Paths in the parameter tree: vision/..., connector/..., llm/layers/... [L, ...],
llm/cross/... [n_cross, ...], llm/embedding, router/... . Which layers are
TEXT, CROSS or SELF is an argument, not a property of the tree.
"""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.models import compute as compute_lib
from visor_jax.models import connector
from visor_jax.models import decoder
from visor_jax.models import router
from visor_jax.models import token_layout
from visor_jax.models import vision
from visor_jax.reduction import gather
from visor_jax.reduction import grammar as reductions
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes

jax.tree_util.register_dataclass(
  batch_lib.Batch, data_fields=batch_lib.NAMES, meta_fields=()
)


class Visor(nn.Module):
  """A vision-language model that looks on request.

  A `plan` argument is one of
    a bool array [n_optional]: traced, one program serves all plans;
    a tuple of bools: static, layers that are off do not exist;
    None: the dense base model.

  Token reduction before the decoder goes with every plan; inside it, it splits
  the dense base model.
  """

  architecture: architecture_lib.Architecture
  compute: compute_lib.Compute = compute_lib.Compute()

  def setup(self):
    self.vision = vision.Vision(self.size.vision, self.compute)
    self.connector = connector.Connector(self.size, self.compute)
    self.llm = decoder.Decoder(self.architecture, self.compute)
    self.router = router.Router(self.size.language, self.architecture.router)

  @property
  def size(self) -> sizes.Size:
    """Widths and depths of the base model."""
    return self.architecture.size

  @property
  def layout(self) -> plans.Layout:
    """The kind of every decoder layer."""
    return self.architecture.layout

  @property
  def reduction(self) -> reductions.Reduction | None:
    """What becomes of visual tokens, if they become fewer."""
    return reductions.single(self.architecture.reduction)

  @property
  def before_self(self) -> int:
    """How many layers stand before the first optional SELF layer."""
    return self.architecture.before_self

  def with_reduction(self, reduction: str) -> 'Visor':
    """The same model on fewer visual tokens.

    Args:
      reduction: in the grammar of reduction/grammar.py; '' for all tokens.
    """
    return self.clone(
      architecture=dataclasses.replace(self.architecture, reduction=reduction)
    )

  def __call__(self, batch: batch_lib.Batch, plan) -> jax.Array:
    """Logits, float32 [B, T, C], one row for every text slot."""
    return self.logits(self.hidden(batch, plan))

  def hidden(self, batch: batch_lib.Batch, plan) -> jax.Array:
    """What the last layer says of every text slot, [B, T, D]."""
    stretches = (
      self._stretches(plan)
      if plan is None
      else ((0, self.size.language.depth),)
    )
    return self._run(*self.prepare_inputs(batch), plan, stretches, keep=False)[
      0
    ].text

  def logits(self, hidden: jax.Array) -> jax.Array:
    """The output head: [B, T, D] to float32 [B, T, C]."""
    return self.llm.logits(hidden)

  def embed(self, batch: batch_lib.Batch) -> decoder.HiddenStates:
    """Text embeddings and visual tokens."""
    patches = self.vision(batch.tiles)
    visual = self.connector(patches, batch.gather_index, batch.gather_weight)
    return decoder.HiddenStates(self.llm.embed(batch.tokens), visual)

  def prepare_inputs(
    self, batch: batch_lib.Batch
  ) -> tuple[decoder.HiddenStates, token_layout.TokenLayout]:
    """What the decoder gets: `embed` and its geometry, or fewer tokens."""
    rows, reduction = token_layout.from_batch(batch), self.reduction
    if not (reduction and reduction.early):
      return self.embed(batch), rows
    rated = None
    patches = self.vision(batch.tiles, reduction.rated)
    if reduction.rated:
      patches, rated = patches
    visual, kept = gather.reduce_visual(
      reduction,
      self.connector(patches, batch.gather_index, batch.gather_weight),
      rated,
      rows.visual,
      batch.gather_index,
      batch.gather_weight,
      batch.tiles.shape[1],
      self.size.vision.grid,
    )
    return (
      decoder.HiddenStates(self.llm.embed(batch.tokens), visual),
      token_layout.keep_visual(rows, kept),
    )

  def prefill(self, batch: batch_lib.Batch, plan):
    """Reads every row's first prompt, for `decode` to go on from.

    Args:
      batch: of one prompt a row.
      plan: static: a tuple, or None for the dense base.

    Returns:
      logits of the token behind the prompt, float32 [B, C]; llm.Memory.
    """
    return self._remember(*self.prepare_inputs(batch), (), batch, plan)

  def prefill_after_route(self, routed, batch: batch_lib.Batch, plan):
    """`prefill` from where `route` stopped: nothing is computed twice."""
    (stream, rows), caches = routed
    return self._remember(stream, rows, (caches,), batch, plan)

  def decode(self, token, memory: decoder.DecodeState, plan, fresh, number):
    """One new token of every row.

    Args:
      token: int32 [B].
      memory: of `prefill`, with the same plan.
      plan: static.
      fresh: of `Decoder.init_decode_cache`; the new tokens before this one.
      number: int32, which new token it is, counted from 0.

    Returns:
      logits of the token behind it, float32 [B, C], and `fresh` with it.
    """
    text = self.llm.embed(token[:, None])
    for (start, stop), caches, rows in zip(
      self._stretches(plan), memory.caches, memory.rows, strict=True
    ):
      text, fresh = self.llm.decode(
        text,
        caches,
        rows,
        memory,
        self._resolve(plan)[0],
        fresh,
        number,
        start,
        stop,
      )
    return self.llm.logits(text)[:, 0], fresh

  def init_decode_cache(self, rows: int, tokens: int):
    """Room for `decode` to remember so many new tokens a row."""
    return self.llm.init_decode_cache(rows, tokens)

  def _cuts(self, plan):
    """Where visual tokens are dropped inside the decoder."""
    cuts = (
      self.reduction.cuts(self.size.language.depth) if (self.reduction) else ()
    )
    if cuts and plan is not None:
      raise ValueError(
        f'token reduction "{self.reduction}" splits the dense '
        'decoder and goes with plan base alone'
      )
    return cuts

  def _stretches(self, plan):
    """Layers that run in one go: something may happen in between.

    The router stops and thinks, or visual tokens are rated and dropped.
    """
    depth, split = self.size.language.depth, self.before_self
    if plan is not None:
      self._cuts(plan)
      return (0, split), (split, depth)
    ends = sorted(
      {0, depth}.union(*((cut.rate, cut.drop) for cut in self._cuts(plan)))
    )
    return tuple(zip(ends, ends[1:]))

  def _run(self, stream, rows, plan, stretches, keep):
    """Runs stretches of layers; returns the Stream, caches and Rows of each."""
    layout, bits = self._resolve(plan)
    caches, seen = (), ()
    for start, stop in stretches:
      for cut in self._cuts(plan):
        if cut.rate == start:
          rating = self.llm.rate(stream, rows, start)
        if cut.drop == start:
          kept = gather.highest(rating, rows.visual.segment, cut.keep)
          stream = stream._replace(visual=gather.gather(stream.visual, kept))
          rows = token_layout.keep_visual(rows, kept)
      stream, own = self.llm.prefill(
        stream, rows, layout, bits, start, stop, keep
      )
      caches, seen = caches + (own,), seen + (rows,)
    return stream, caches, seen

  def _remember(self, stream, rows, caches, batch, plan):
    """Runs the stretches that have left no caches yet."""
    if not (plan is None or isinstance(plan, tuple)):
      raise ValueError('a cache has a shape: give the plan as a tuple')
    if plan is None and caches:
      raise ValueError('the base model has no router to go on from')
    seen = (rows,) * len(caches)
    stream, own, fewer = self._run(
      stream, rows, plan, self._stretches(plan)[len(caches) :], keep=True
    )
    last = rows.end[:, 0]
    every = jnp.arange(last.shape[0])
    logits = self.llm.logits(stream.text[every, last][:, None])[:, 0]
    return logits, decoder.DecodeState(
      caches + own,
      seen + fewer,
      batch.prompt_segment[:, 0],
      rows.text_position[every, last] + 1,
    )

  def route(self, batch: batch_lib.Batch):
    """Runs the layers before the first optional SELF layer, and the router.

    Returns:
      scores, float32 [B, R, plans], one row for every prompt; and what
      `resume` goes on from: the Stream without its routing tokens and its Rows,
      and caches.
    """
    self._cuts(self.layout.max)
    stream, rows = self.prepare_inputs(batch)
    t = batch.tokens.shape[1]
    learned = self.architecture.router.token == 'learned'
    if learned:
      stream = self._with_routing(stream, rows)
    stream, caches = self.llm.prefill(
      stream, rows, self.layout, None, 0, self.before_self
    )
    if learned:
      read = stream.text[:, t:]
    elif self.architecture.router.token == 'last':
      here = rows.prompt.place[:, :, None] == rows.text.place[:, None]
      read = jnp.einsum(
        'BRT,BTD->BRD', here.astype(stream.text.dtype), stream.text
      )
    else:
      own = rows.prompt.segment[:, :, None] == rows.visual.segment[:, None]
      own &= rows.visual.place[:, None] <= rows.prompt.place[:, :, None]
      own = own.astype(stream.visual.dtype)
      count = jnp.maximum(own.sum(-1, keepdims=True), 1)
      read = jnp.einsum('BRV,BVD->BRD', own / count, stream.visual)
    stream = decoder.HiddenStates(stream.text[:, :t], stream.visual)
    return self.router(read), ((stream, rows), caches)

  def finish(self, routed, batch: batch_lib.Batch, plan):
    """The rest of `__call__` from where `route` stopped."""
    if plan is None:
      raise ValueError('the base model has no router to go on from')
    layout, bits = self._resolve(plan)
    stream = self.llm.run(*routed[0], layout, bits, self.before_self)
    return self.llm.logits(stream.text)

  def init_all(self, batch: batch_lib.Batch):
    """Touches every parameter; for init."""
    return self(batch, self.layout.max), self.route(batch)[0]

  def _resolve(self, plan):
    if plan is None:
      return plans.base(self.size.language.depth), None
    if isinstance(plan, tuple):
      return self.layout.fix(plan), None
    if plan.shape != (len(self.layout.optional),):
      raise ValueError(
        f'a plan of {plan.shape[0]} optional SELF layers for a model that '
        f'has {len(self.layout.optional)}'
      )
    return self.layout, plan

  def _with_routing(self, stream, rows):
    """Adds a routing token behind every prompt, in slots of its own."""
    position = jnp.take_along_axis(rows.text_position, rows.end, axis=1) + 1
    token = self.router.token.astype(stream.text.dtype)
    token = jnp.broadcast_to(token, (*rows.end.shape, token.shape[0]))
    return stream._replace(
      text=jnp.concatenate([stream.text, token], axis=1),
      route=rows.prompt,
      route_position=position,
    )


def copy_cross(params, layout: plans.Layout):
  """Starts CROSS weights as copies of their layer's own q, k, v and o.

  Args:
    params: parameters of a Visor, unboxed.
    layout: which says where the CROSS layers are.

  Returns:
    The parameters with `llm/cross` replaced.

  Raises:
    ValueError: the shapes differ, as with full key heads.
  """
  at = jnp.asarray(layout.indices(plans.CROSS))
  own = params['llm']['layers']['attention']
  cross_params = dict(params['llm']['cross'])
  for name, value in own.items():
    if name in cross_params and cross_params[name].shape[1:] != value.shape[1:]:
      raise ValueError(
        f'model.cross.init "copy": llm/cross/{name} is '
        f'{cross_params[name].shape[1:]}, the layer has {value.shape[1:]}; '
        'set model.cross.key_heads to "base"'
      )
    cross_params[name] = value[at]
  return params | {'llm': params['llm'] | {'cross': cross_params}}

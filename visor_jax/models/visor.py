"""The whole model: vision, connector, decoder and router.

Paths in the parameter tree: vision/..., connector/..., llm/layers/... [L, ...],
llm/cross/... [n_cross, ...], llm/embedding, router/... . Which layers are
TEXT, CROSS or SELF is an argument, not a property of the tree.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax import batch as batch_lib
from visor_jax import plan as plans
from visor_jax import sizes
from visor_jax.models import attention
from visor_jax.models import connector
from visor_jax.models import cross
from visor_jax.models import llm
from visor_jax.models import router
from visor_jax.models import vision

jax.tree_util.register_dataclass(
    batch_lib.Batch, data_fields=batch_lib.NAMES, meta_fields=())


class Visor(nn.Module):
  """A vision-language model that looks on request.

  A `plan` argument is one of
    a bool array [n_optional]: traced, one program serves all plans;
    a tuple of bools: static, layers that are off do not exist;
    None: the dense base model.
  """

  size: sizes.Size
  layout: plans.Layout
  cross_options: cross.Options = cross.Options()
  router_options: router.Options = router.Options()
  compute: llm.Compute = llm.Compute()

  def setup(self):
    self.vision = vision.Vision(self.size.vision, self.compute)
    self.connector = connector.Connector(self.size, self.compute)
    self.llm = llm.Llm(self.size.language, self.layout, self.cross_options,
                       self.compute)
    self.router = router.Router(self.size.language, self.router_options)

  @property
  def before_self(self) -> int:
    """How many layers stand before the first optional SELF layer."""
    return min(self.layout.optional, default=self.size.language.depth)

  def __call__(self, batch: batch_lib.Batch, plan) -> jax.Array:
    """Logits, float32 [B, T, C], one row for every text slot."""
    return self.logits(self.hidden(batch, plan))

  def hidden(self, batch: batch_lib.Batch, plan) -> jax.Array:
    """What the last layer says of every text slot, [B, T, D]."""
    rows = llm.rows(batch)
    stream = self.embed(batch)
    layout, bits = self._resolve(plan)
    return self.llm.run(stream, rows, layout, bits).text

  def logits(self, hidden: jax.Array) -> jax.Array:
    """The output head: [B, T, D] to float32 [B, T, C]."""
    return self.llm.logits(hidden)

  def embed(self, batch: batch_lib.Batch) -> llm.Stream:
    """Text embeddings and visual tokens."""
    patches = self.vision(batch.tiles)
    visual = self.connector(patches, batch.source, batch.weight)
    return llm.Stream(self.llm.embed(batch.tokens), visual)

  def prefill(self, batch: batch_lib.Batch, plan):
    """Reads every row's first prompt, for `decode` to go on from.

    Args:
      batch: of one prompt a row.
      plan: static: a tuple, or None for the dense base.

    Returns:
      logits of the token behind the prompt, float32 [B, C]; llm.Memory.
    """
    return self._remember(self.embed(batch), (), batch, plan)

  def resume(self, routed, batch: batch_lib.Batch, plan):
    """`prefill` from where `route` stopped: nothing is computed twice."""
    stream, caches = routed
    return self._remember(stream, (caches,), batch, plan)

  def decode(self, token, memory: llm.Memory, plan, fresh, number):
    """One new token of every row.

    Args:
      token: int32 [B].
      memory: of `prefill`, with the same plan.
      plan: static.
      fresh: of `Llm.fresh`; the new tokens before this one.
      number: int32, which new token it is, counted from 0.

    Returns:
      logits of the token behind it, float32 [B, C], and `fresh` with it.
    """
    text = self.llm.embed(token[:, None])
    for (start, stop), caches in zip(self._stretches(plan), memory.caches):
      text, fresh = self.llm.decode(
          text, caches, memory, self._resolve(plan)[0], fresh, number, start,
          stop)
    return self.llm.logits(text)[:, 0], fresh

  def fresh(self, rows: int, tokens: int):
    """Room for `decode` to remember so many new tokens a row."""
    return self.llm.fresh(rows, tokens)

  def _stretches(self, plan):
    """Layers that run in one go: the router may stop and think in between."""
    depth, split = self.size.language.depth, self.before_self
    return ((0, depth),) if plan is None else ((0, split), (split, depth))

  def _remember(self, stream, caches, batch, plan):
    """Runs the stretches that have left no caches yet."""
    if not (plan is None or isinstance(plan, tuple)):
      raise ValueError('a cache has a shape: give the plan as a tuple')
    if plan is None and caches:
      raise ValueError('the base model has no router to go on from')
    rows = llm.rows(batch)
    for start, stop in self._stretches(plan)[len(caches):]:
      stream, kept = self.llm.prefill(
          stream, rows, self._resolve(plan)[0], None, start, stop)
      caches += (kept,)
    every = jnp.arange(batch.tokens.shape[0])
    last = jnp.argmax(batch.text_place == batch.prompt_place[:, :1], axis=1)
    logits = self.llm.logits(stream.text[every, last][:, None])[:, 0]
    return logits, llm.Memory(caches, rows, batch.prompt_segment[:, 0],
                              rows.text_position[every, last] + 1)

  def route(self, batch: batch_lib.Batch):
    """Runs the layers before the first optional SELF layer, and the router.

    Returns:
      scores, float32 [B, R, plans], one row for every prompt; and what
      `resume` goes on from: the Stream without its routing tokens, and caches.
    """
    rows = llm.rows(batch)
    stream = self.embed(batch)
    t = batch.tokens.shape[1]
    learned = self.router_options.token == 'learned'
    if learned:
      stream = self._with_routing(stream, rows, batch)
    stream, caches = self.llm.prefill(
        stream, rows, self.layout, None, 0, self.before_self)
    if learned:
      read = stream.text[:, t:]
    elif self.router_options.token == 'last':
      here = batch.prompt_place[:, :, None] == batch.text_place[:, None]
      read = jnp.einsum('BRT,BTD->BRD', here.astype(stream.text.dtype),
                        stream.text)
    else:
      own = batch.prompt_segment[:, :, None] == batch.visual_segment[:, None]
      own &= batch.visual_place[:, None] <= batch.prompt_place[:, :, None]
      own = own.astype(stream.visual.dtype)
      count = jnp.maximum(own.sum(-1, keepdims=True), 1)
      read = jnp.einsum('BRV,BVD->BRD', own / count, stream.visual)
    stream = llm.Stream(stream.text[:, :t], stream.visual)
    return self.router(read), (stream, caches)

  def finish(self, routed, batch: batch_lib.Batch, plan):
    """The rest of `__call__` from where `route` stopped."""
    if plan is None:
      raise ValueError('the base model has no router to go on from')
    layout, bits = self._resolve(plan)
    stream = self.llm.run(
        routed[0], llm.rows(batch), layout, bits, self.before_self)
    return self.llm.logits(stream.text)

  def everything(self, batch: batch_lib.Batch):
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
          f'has {len(self.layout.optional)}')
    return self.layout, plan

  def _with_routing(self, stream, rows, batch):
    """Adds a routing token behind every prompt, in slots of its own."""
    slots = attention.Slots(batch.prompt_segment, batch.prompt_place)
    position = jnp.take_along_axis(rows.position, slots.place, axis=1) + 1
    token = self.router.token.astype(stream.text.dtype)
    token = jnp.broadcast_to(token, (*slots.place.shape, token.shape[0]))
    return stream._replace(
        text=jnp.concatenate([stream.text, token], axis=1), route=slots,
        route_position=position)


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
          'set model.cross.key_heads to "base"')
    cross_params[name] = value[at]
  return params | {'llm': params['llm'] | {'cross': cross_params}}

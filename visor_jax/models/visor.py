"""The whole model: vision, connector, decoder and router.

Paths in the parameter tree: vision/..., connector/..., llm/layers/... [L, ...],
llm/cross/... [n_cross, ...], llm/embedding, router/... . Which layers are
TEXT, CROSS or SELF is an argument, not a property of the tree.

Legend: B batch, T text, R prompts, V visual, D width, C vocabulary, L layers,
M room for new tokens.
"""

import dataclasses
from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.families import table as families
from visor_jax.models import backbone
from visor_jax.models import caches as caches_lib
from visor_jax.models import compute as compute_lib
from visor_jax.models import decoder
from visor_jax.models import decoding
from visor_jax.models import layer_kinds
from visor_jax.models import positions
from visor_jax.models import router
from visor_jax.models import spans
from visor_jax.reduction import grammar as reductions
from visor_jax.reduction import method as reduction_lib
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes

jax.tree_util.register_dataclass(
  batch_lib.Batch, data_fields=batch_lib.NAMES, meta_fields=()
)

HiddenStates = layer_kinds.HiddenStates


class Routed(NamedTuple):
  """Where `Visor.route` stopped, for the rest to go on from."""

  hidden: HiddenStates
  token_layout: positions.TokenLayout
  caches: caches_lib.SpanCaches


class Visor(nn.Module):
  """A vision-language model that looks on request.

  A `plan` argument is a spans.AnyPlan: traced, static or None for the base.
  Token reduction before the decoder goes with every plan; between layers it
  splits the dense base model.
  """

  architecture: architecture_lib.Architecture
  compute: compute_lib.Compute = compute_lib.Compute()

  def setup(self) -> None:
    family = families.named(self.architecture.family).modules()
    self.vision = family.tower(self.size.vision, self.compute)
    self.connector = family.connector(self.size, self.compute)
    self.llm = decoder.Decoder(self.architecture, self.compute)
    self.router = router.Router(self.size.language, self.architecture.router)

  @property
  def size(self) -> sizes.Size:
    """Widths and depths of the base model, with the tiles that it gets."""
    return reductions.size(self.architecture)

  @property
  def layout(self) -> plans.Layout:
    """The kind of every decoder layer."""
    return self.architecture.layout

  @property
  def reduction(self) -> reduction_lib.Reduction:
    """What makes visual tokens fewer."""
    return reductions.single(self.architecture.reduction)

  @property
  def before_self(self) -> int:
    """How many layers stand before the first optional SELF layer."""
    return self.architecture.before_self

  def with_reduction(self, reduction: str) -> 'Visor':
    """The same model on fewer visual tokens, '' for all: see grammar.py."""
    return self.clone(
      architecture=dataclasses.replace(self.architecture, reduction=reduction)
    )

  def __call__(self, batch: batch_lib.Batch, plan: spans.AnyPlan) -> jax.Array:
    """Logits, float32 [B, T, C], one row for every text slot."""
    return self.logits(self.hidden(batch, plan))

  def hidden(self, batch: batch_lib.Batch, plan: spans.AnyPlan) -> jax.Array:
    """What the last layer says of every text slot, [B, T, D]."""
    hidden, token_layout = self.prepare_inputs(batch)
    return spans.run(self.llm, hidden, token_layout, plan).text

  def head_inputs(
    self, batch: batch_lib.Batch, plan: spans.AnyPlan
  ) -> tuple[jax.Array, jax.Array]:
    """What the output head multiplies, [B, T, D] and [D, C]."""
    return self.llm.head_inputs(self.hidden(batch, plan))

  def logits(self, hidden: jax.Array) -> jax.Array:
    """The output head: [B, T, D] to float32 [B, T, C]."""
    return self.llm.logits(hidden)

  def embed(self, batch: batch_lib.Batch) -> HiddenStates:
    """Text embeddings and every visual token, whatever the reduction."""
    patches = self.vision(batch.tiles, batch.tile_grid)
    visual = self.connector(
      patches.features, batch.gather_index, batch.gather_weight
    )
    return HiddenStates(self.llm.embed(batch.tokens), visual)

  def read_tiles(
    self, tiles: jax.Array, tile_grid: jax.Array
  ) -> backbone.PatchFeatures:
    """What the vision tower says of tiles; arguments as of a Batch."""
    return self.vision(tiles, tile_grid, rate=self.reduction.rates_patches)

  def prepare_inputs(
    self,
    batch: batch_lib.Batch,
    images: caches_lib.ReadImages = caches_lib.UNREAD,
  ) -> tuple[HiddenStates, positions.TokenLayout]:
    """What the decoder gets, and where its tokens stand."""
    patches = images.patches or self.read_tiles(batch.tiles, batch.tile_grid)
    visual = self.connector(
      patches.features, batch.gather_index, batch.gather_weight
    )
    text = self.llm.embed(batch.tokens)
    tokens = self.reduction.before_decoder(
      reduction_lib.VisualTokens(
        visual, positions.token_layout(batch, self.size.language.axes), text
      ),
      reduction_lib.Patches(
        batch.gather_index,
        batch.gather_weight,
        batch.tiles.shape[1],
        self.size.vision.grid,
        patches.attention,
        patches.keys,
      ),
    )
    # Layers that know what they made of the image let it go by.
    visual = tokens.visual[:, :0] if images.caches else tokens.visual
    return HiddenStates(text, visual), tokens.token_layout

  def prefill(
    self,
    batch: batch_lib.Batch,
    plan: spans.StaticPlan,
    images: caches_lib.ReadImages = caches_lib.UNREAD,
  ) -> tuple[jax.Array, decoding.DecodeState]:
    """Reads every row's first prompt, for `decode` to go on from.

    Args:
      batch: of one prompt a row.
      plan: static: a tuple, or None for the dense base.
      images: what is known of them.

    Returns:
      logits of the token behind the prompt, float32 [B, C]; the prompt.
    """
    hidden, token_layout = self.prepare_inputs(batch, images)
    return self._prefill(hidden, token_layout, (), batch, plan, images)

  def prefill_after_route(
    self,
    routed: Routed,
    batch: batch_lib.Batch,
    plan: spans.StaticPlan,
    images: caches_lib.ReadImages = caches_lib.UNREAD,
  ) -> tuple[jax.Array, decoding.DecodeState]:
    """`prefill` from where `route` stopped: nothing is computed twice."""
    if plan is None:
      raise ValueError('the base model has no router to go on from')
    hidden, token_layout, caches = routed
    return self._prefill(hidden, token_layout, (caches,), batch, plan, images)

  def decode(
    self,
    token: jax.Array,
    state: decoding.DecodeState,
    plan: spans.StaticPlan,
    new_cache: decoding.NewCache,
    number: jax.Array,
    layers: tuple[tuple[decoding.Layer, ...], ...] | None = None,
  ) -> tuple[jax.Array, decoding.NewCache]:
    """One new token of every row.

    Args:
      token: int32 [B].
      state: of `prefill`, with the same plan.
      plan: static.
      new_cache: of `init_decode_cache`; the new tokens before this one.
      number: int32, which new token it is, counted from 0.
      layers: of `decode_layers`, made once for all tokens; None makes them.

    Returns:
      logits of the token behind it, float32 [B, C], and `new_cache` with it.
    """
    room = new_cache[0].shape[2]
    text = self.llm.embed(token[:, None])
    for of_span, prompt in zip(
      layers or self.decode_layers(state, plan),
      state.token_layouts,
      strict=True,
    ):
      new_token = decoding.new_token(state, number, prompt, room)
      text, new_cache = self.llm.decode(
        of_span, (text, new_cache), new_token, prompt
      )
    return self.llm.logits(text)[:, 0], new_cache

  def decode_layers(
    self, state: decoding.DecodeState, plan: spans.StaticPlan
  ) -> tuple[tuple[decoding.Layer, ...], ...]:
    """What `decode` needs of the layers, of each span, on every token."""
    return spans.decode_layers(self.llm, state, plan)

  def init_decode_cache(self, rows: int, tokens: int) -> decoding.NewCache:
    """Room for `decode` to remember so many new tokens a row."""
    return self.llm.init_decode_cache(rows, tokens)

  def route(
    self,
    batch: batch_lib.Batch,
    images: caches_lib.ReadImages = caches_lib.UNREAD,
  ) -> tuple[jax.Array, Routed]:
    """Runs the layers before the first optional SELF layer, and the router.

    Returns:
      scores, float32 [B, R, plans], one row for every prompt; and what
      `prefill_after_route` goes on from.
    """
    features, routed = self.features(batch, images)
    return self.scores(features), routed

  def features(
    self,
    batch: batch_lib.Batch,
    images: caches_lib.ReadImages = caches_lib.UNREAD,
  ) -> tuple[router.Features, Routed]:
    """Runs the layers before the first optional SELF layer.

    Returns:
      what `scores` reads, which no weight of the router changes; and what
      `prefill_after_route` goes on from.
    """
    spans.of_plan(self.architecture, self.layout.max)  # raises for the base's
    hidden, token_layout = self.prepare_inputs(batch, images)
    span, known = range(self.before_self), next(iter(images.caches), None)
    hidden, caches = self.llm.prefill(
      hidden, token_layout, self.layout, span, known
    )
    read = router.READERS[self.architecture.router.token]
    features = read(hidden, token_layout, caches)
    return features, Routed(hidden, token_layout, caches)

  def scores(self, features: router.Features) -> jax.Array:
    """What the router makes of `features`: float32 [B, R, plans]."""
    if isinstance(features, router.Prompts):
      features = spans.look_on(self.llm, self.router.token, features)
    return self.router(features)

  def init_all(self, batch: batch_lib.Batch) -> tuple[jax.Array, jax.Array]:
    """Touches every parameter; for init."""
    return self(batch, self.layout.max), self.route(batch)[0]

  def _prefill(
    self,
    hidden: HiddenStates,
    token_layout: positions.TokenLayout,
    caches: tuple[caches_lib.SpanCaches, ...],
    batch: batch_lib.Batch,
    plan: spans.StaticPlan,
    images: caches_lib.ReadImages = caches_lib.UNREAD,
  ) -> tuple[jax.Array, decoding.DecodeState]:
    """Runs the spans that have left no caches yet."""
    before = (token_layout,) * len(caches)
    hidden, new_caches, token_layouts = spans.prefill(
      self.llm, hidden, token_layout, plan, len(caches), images.caches
    )
    last = token_layout.prompt_end[:, 0]
    row = jnp.arange(last.shape[0])
    logits = self.llm.logits(hidden.text[row, last][:, None])[:, 0]
    return logits, decoding.DecodeState(
      caches + new_caches,
      before + token_layouts,
      batch.prompt_segment[:, 0],
      token_layout.text_position[row, last] + 1,
    )

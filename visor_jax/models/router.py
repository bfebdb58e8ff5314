"""The router: scores of the plans, from a token that only looks on.

It knows nothing of tasks: it reads one vector per prompt.

Legend: B batch, T text, R prompts, V visual, D width.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from visor_jax.models import caches as caches_lib
from visor_jax.models import layer_kinds
from visor_jax.models import layers
from visor_jax.models import params
from visor_jax.models import positions
from visor_jax.spec import architecture
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import budget
from visor_jax.spec import sizes


class Prompts(NamedTuple):
  """Prompts as a routing token sees them."""

  caches: caches_lib.SpanCaches  # leaves [B, count, ...]
  token_layout: positions.TokenLayout


# What the router reads of prompts: [B, R, D], or by a token of its own.
Features = jax.Array | Prompts


class Router(nn.Module):
  """A small MLP before the first optional SELF layer."""

  size: sizes.Language
  options: architecture.RouterOptions

  def setup(self) -> None:
    d, f, count = self.size.width, self.options.hidden, self.options.plans
    weight = functools.partial(params.param, self)
    self.token = weight('token', (d,), ('embed',), params.small)
    self.norm = layers.RMSNorm(self.size.norm_eps)
    self.up = weight('up', (d, f), ('embed', 'mlp'))
    self.up_bias = weight('up_bias', (f,), ('mlp',), params.zeros)
    self.down = weight('down', (f, count), ('mlp', 'plans'), params.zeros)
    self.bias = weight('bias', (count,), ('plans',), params.zeros)

  def __call__(self, x: jax.Array) -> jax.Array:
    """[B, R, D] -> [B, R, plans]: a score for every viable plan, by cost."""
    x = self.norm(x.astype('float32'))
    return nn.gelu(x @ self.up + self.up_bias) @ self.down + self.bias


def _read_learned(
  hidden: layer_kinds.HiddenStates,
  token_layout: positions.TokenLayout,
  caches: caches_lib.SpanCaches,
) -> Prompts:
  """What a routing token may look at."""
  del hidden
  rows_first = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), caches)
  return Prompts(rows_first, token_layout)


def _read_last(
  hidden: layer_kinds.HiddenStates,
  token_layout: positions.TokenLayout,
  caches: caches_lib.SpanCaches,
) -> jax.Array:
  """The text token that ends the prompt."""
  del caches
  text = hidden.text
  prompt_place, text_place = token_layout.prompt.place, token_layout.text.place
  ends = prompt_place[:, :, None] == text_place[:, None]
  return jnp.einsum('BRT,BTD->BRD', ends.astype(text.dtype), text)


def _read_visual(
  hidden: layer_kinds.HiddenStates,
  token_layout: positions.TokenLayout,
  caches: caches_lib.SpanCaches,
) -> jax.Array:
  """The mean of the prompt's visual tokens."""
  del caches
  visual = hidden.visual
  prompt, slots = token_layout.prompt, token_layout.visual
  read = prompt.segment[:, :, None] == slots.segment[:, None]
  read &= slots.place[:, None] <= prompt.place[:, :, None]
  share = read.astype(visual.dtype)
  share = share / jnp.maximum(share.sum(-1, keepdims=True), 1)
  return jnp.einsum('BRV,BVD->BRD', share, visual)


# By architecture.RouterOptions.token: what the layers before the router have
# left, to what it reads.
READERS: dict[
  str,
  Callable[
    [
      layer_kinds.HiddenStates,
      positions.TokenLayout,
      caches_lib.SpanCaches,
    ],
    Features,
  ],
] = {'learned': _read_learned, 'last': _read_last, 'visual': _read_visual}


def choose(
  scores: jax.Array | np.ndarray,
  viable: int,
  confidence: float | budget.Mix | None,
  hashes: jax.Array | np.ndarray | None = None,
) -> jax.Array:
  """From scores to plans.

  Args:
    scores: [..., plans], as the router gives them.
    viable: how many plans are viable; they are ordered by cost.
    confidence: the cheapest plan whose cumulative probability (that it or a
      cheaper one suffices) reaches it, 1 always the largest plan; None takes
      the likeliest; of a Mix the higher one where the hash is below its share.
    hashes: float32 [...], in [0, 1), see `question_hash`; for a Mix.

  Returns:
    int [...], the number of the plan.

  Raises:
    ValueError: a Mix without hashes.
  """
  if isinstance(confidence, budget.Mix):
    if hashes is None:
      raise ValueError('a Mix of confidences needs the hashes of questions')
    low, high = (
      choose(scores, viable, c) for c in (confidence.low, confidence.high)
    )
    return jnp.where(hashes < confidence.share, high, low)
  probability = jax.nn.softmax(scores[..., :viable], axis=-1)
  if confidence is None:
    return jnp.argmax(probability, axis=-1)
  # Summed from the expensive end, where what is left over is small and exact.
  cumulative = jnp.flip(jnp.cumsum(jnp.flip(probability, -1), axis=-1), -1)
  cumulative = jnp.minimum(
    cumulative, 1
  )  # rounding must not refuse confidence 0
  enough = (cumulative[..., 1:] <= 1 - confidence) & (confidence < 1)
  last = jnp.ones((*enough.shape[:-1], 1), bool)
  return jnp.argmax(jnp.concatenate([enough, last], axis=-1), axis=-1)


def question_hash(batch: batch_lib.Batch, patches: int) -> jax.Array:
  """A number in [0, 1) for each row, from its tokens and pixels alone.

  A question has the same hash in any batch, bucket and process: sums of
  integers have no order.

  Args:
    batch: of one prompt a row.
    patches: in a tile.

  Returns:
    float32 [B].
  """
  tiles = batch.tiles.reshape(*batch.tiles.shape[:2], -1)
  # Padding may hold anything.
  used = jnp.arange(tiles.shape[1]) < batch.used(patches)[:, None]
  pixels = jnp.where(used[..., None], tiles, 0)
  tokens = jnp.where(batch.text_segment > 0, batch.tokens + 1, 0)
  digest = _digest(tokens, 1) ^ _digest(pixels.reshape(len(tiles), -1), 2)
  return (mixed(digest) >> 8).astype(jnp.float32) / 2**24


def _digest(x: jax.Array, salt: int) -> jax.Array:
  """uint32 [B] of integers [B, n]; zeros at the end change nothing."""
  weight = mixed(jnp.arange(x.shape[1], dtype=jnp.uint32) * 2 + salt) | 1
  return mixed(jnp.sum(x.astype(jnp.uint32) * weight, axis=1, dtype=jnp.uint32))


def mixed(x: jax.Array) -> jax.Array:
  """Every bit of a uint32 on every other: MurmurHash3's last steps."""
  for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
    x = (x ^ (x >> shift)) * jnp.uint32(factor)
  return x ^ (x >> 16)

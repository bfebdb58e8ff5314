"""The router: scores of the plans, from a token that only looks on.

It knows nothing of tasks: it reads one vector per prompt.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.models import layers
from visor_jax.spec import architecture
from visor_jax.spec import budget
from visor_jax.spec import sizes


class Router(nn.Module):
  """A small MLP before the first optional SELF layer."""

  size: sizes.Language
  options: architecture.RouterOptions

  def setup(self):
    d, f = self.size.width, self.options.hidden
    zeros = layers.zeros
    get = lambda *args: layers.param(self, *args)
    self.token = get('token', (d,), ('embed',), layers.small)
    self.norm = layers.RMSNorm(self.size.norm_eps)
    self.up = get('up', (d, f), ('embed', 'mlp'))
    self.up_bias = get('up_bias', (f,), ('mlp',), zeros)
    self.down = get('down', (f, self.options.plans), ('mlp', 'plans'), zeros)
    self.bias = get('bias', (self.options.plans,), ('plans',), zeros)

  def __call__(self, x):
    """[B, R, D] -> [B, R, plans]: a score for every viable plan, by cost."""
    x = self.norm(x.astype('float32'))
    return nn.gelu(x @ self.up + self.up_bias) @ self.down + self.bias


def choose(
  scores, viable: int, confidence: float | budget.Mix | None, luck=None
):
  """From scores to plans.

  Args:
    scores: [..., plans], as the router gives them.
    viable: how many plans are viable; they are ordered by cost.
    confidence: the cheapest plan whose cumulative probability (that it or a
      cheaper one suffices) reaches it, 1 always the largest plan; None takes
      the likeliest; of a Mix the higher one where luck is below its share.
    luck: [...], of `luck`; for a Mix.

  Returns:
    int [...], the number of the plan.
  """
  if isinstance(confidence, budget.Mix):
    low, high = (
      choose(scores, viable, c) for c in (confidence.low, confidence.high)
    )
    return jnp.where(luck < confidence.share, high, low)
  probability = jax.nn.softmax(scores[..., :viable], axis=-1)
  if confidence is None:
    return jnp.argmax(probability, axis=-1)
  # Summed from the dear end, where what is left over is small and exact.
  dearer = jnp.flip(jnp.cumsum(jnp.flip(probability, -1), axis=-1), -1)
  dearer = jnp.minimum(dearer, 1)  # rounding must not refuse confidence 0
  enough = (dearer[..., 1:] <= 1 - confidence) & (confidence < 1)
  last = jnp.ones((*enough.shape[:-1], 1), bool)
  return jnp.argmax(jnp.concatenate([enough, last], axis=-1), axis=-1)


def question_hash(batch, patches: int):
  """A number in [0, 1) for each row, from its tokens and pixels alone.

  A question has the same luck in any batch, bucket and process: sums of
  integers have no order.

  Args:
    batch: a Batch of one prompt a row.
    patches: of a tile.

  Returns:
    float32 [B].
  """
  tiles = batch.tiles.reshape(*batch.tiles.shape[:2], -1)
  # Padding may hold anything.
  own = jnp.arange(tiles.shape[1]) < batch.used(patches)[:, None]
  pixels = jnp.where(own[..., None], tiles, 0)
  tokens = jnp.where(batch.text_segment > 0, batch.tokens + 1, 0)
  found = _digest(tokens, 1) ^ _digest(pixels.reshape(len(tiles), -1), 2)
  return (_mixed(found) >> 8).astype(jnp.float32) / 2**24


def _digest(x, salt: int):
  """uint32 [B] of integers [B, n]; zeros at the end change nothing."""
  weight = _mixed(jnp.arange(x.shape[1], dtype=jnp.uint32) * 2 + salt) | 1
  return _mixed(
    jnp.sum(x.astype(jnp.uint32) * weight, axis=1, dtype=jnp.uint32)
  )


def _mixed(x):
  """Every bit of a uint32 on every other: MurmurHash3's last steps."""
  for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
    x = (x ^ (x >> shift)) * jnp.uint32(factor)
  return x ^ (x >> 16)

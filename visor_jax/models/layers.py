"""What a decoder layer is made of: norm, attention and MLP of Qwen2 or Llama.

Legend: B batch, S slots, Q those that ask, D width, N heads, K key heads, H
head width.
"""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.models import params
from visor_jax.models import positions
from visor_jax.models import sharding
from visor_jax.spec import sizes


class RMSNorm(nn.Module):
  """x / rms(x) * scale, computed in float32; [..., D] -> [..., D]."""

  eps: float = 1e-6

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    scale = params.param(self, 'scale', x.shape[-1:], ('norm',), params.ones)
    high = x.astype(jnp.float32)
    mean = jnp.mean(high * high, axis=-1, keepdims=True)
    return scale * (high * jax.lax.rsqrt(mean + self.eps)).astype(x.dtype)


class Attention(nn.Module):
  """Grouped-query attention: biases on q, k and v or none, none on the output.

  Projections alone: who sees whom, between them, is the caller's.
  """

  size: sizes.Language

  def setup(self) -> None:
    size = self.size
    d, n, k, h = size.width, size.heads, size.key_heads, size.head_width
    heads, key_heads = ('heads', 'head'), ('key_heads', 'head')
    weight = functools.partial(params.param, self)
    bias: Callable[..., jax.Array | float] = _no_bias
    if size.biases:
      bias = functools.partial(params.param, self, init=params.zeros)
    self.query = weight('query', (d, n, h), ('embed', *heads))
    self.query_bias = bias('query_bias', (n, h), heads)
    self.key = weight('key', (d, k, h), ('embed', *key_heads))
    self.key_bias = bias('key_bias', (k, h), key_heads)
    self.value = weight('value', (d, k, h), ('embed', *key_heads))
    self.value_bias = bias('value_bias', (k, h), key_heads)
    self.out = weight('out', (n, h, d), (*heads, 'embed'), params.fan_in(2))

  def query_key(
    self, x: jax.Array, position: jax.Array, queries: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array]:
    """[B, S, D] -> query [B, Q, N, H] and key [B, S, K, H], with rope.

    Args:
      x: normalised hidden states.
      position: int32 [B, S], or [B, S, 3].
      queries: int32 [B, Q], the slots that ask; None for all.
    """
    key = params.dense(x, self.key) + self.key_bias
    query = self.queries(
      params.take_slots(x, queries), params.take_slots(position, queries)
    )
    return query, positions.rope(key, position, self.size)

  def queries(self, x: jax.Array, position: jax.Array) -> jax.Array:
    """[B, Q, D] -> [B, Q, N, H], with rope."""
    query = params.dense(x, self.query) + self.query_bias
    return positions.rope(query, position, self.size)

  def values(self, x: jax.Array) -> jax.Array:
    """[B, S, D] -> [B, S, K, H]."""
    return params.dense(x, self.value) + self.value_bias

  def output(self, context: jax.Array) -> jax.Array:
    """[B, Q, N, H] -> [B, Q, D]."""
    return params.dense(context, self.out, 2)


def _no_bias(*declared: object) -> float:
  del declared
  return 0.0


class Mlp(nn.Module):
  """SwiGLU: down(silu(gate(x)) * up(x)); [..., D] -> [..., D]."""

  size: sizes.Language

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    d, f = self.size.width, self.size.mlp
    gate = params.param(self, 'gate', (d, f), ('embed', 'mlp'))
    up = params.param(self, 'up', (d, f), ('embed', 'mlp'))
    down = params.param(self, 'down', (f, d), ('mlp', 'embed'))
    hidden = nn.silu(params.dense(x, gate)) * params.dense(x, up)
    return params.dense(hidden, down)


class Layer(nn.Module):
  """One decoder layer, the same weights whatever its kind.

  Pre-norm attention and MLP with residuals, in two halves:

    query, key, value = layer.qkv(x, position)
    context = ...  # who sees whom is of the kind
    x = layer.output(x, context)
  """

  size: sizes.Language

  def setup(self) -> None:
    self.attention_norm = RMSNorm(self.size.norm_eps)
    self.attention = Attention(self.size)
    self.mlp_norm = RMSNorm(self.size.norm_eps)
    self.mlp = Mlp(self.size)

  def query_key(
    self, x: jax.Array, position: jax.Array, queries: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array]:
    """What scores are made of; see `qkv`."""
    x = self.attention_norm(x)
    return self.attention.query_key(x, position, queries)

  def qkv(
    self, x: jax.Array, position: jax.Array, queries: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Query [B, Q, N, H], key and value [B, S, K, H].

    Args:
      x: [B, S, D], constrained once by whoever made it: two constraints of
        one value are two values to the compiler.
      position: int32 [B, S], or [B, S, 3].
      queries: int32 [B, Q], the slots that ask; None for all of them.
    """
    x = self.attention_norm(x)
    query, key = self.attention.query_key(x, position, queries)
    return query, key, self.attention.values(x)

  def queries(self, x: jax.Array, position: jax.Array) -> jax.Array:
    """Of tokens that nobody sees: [B, Q, N, H], as of `qkv`."""
    return self.attention.queries(self.attention_norm(x), position)

  def output(self, x: jax.Array, context: jax.Array) -> jax.Array:
    """The layer's result of those that asked: [B, Q, D].

    Args:
      x: [B, Q, D], what the layer was given of them.
      context: [B, Q, N, H], what attention found for them.
    """
    return self.feed_forward(self.attended(x, context))

  def attended(self, x: jax.Array, context: jax.Array) -> jax.Array:
    """The half of `output` before the MLP."""
    return sharding.constrain_slots(x + self.attention.output(context))

  def feed_forward(self, x: jax.Array) -> jax.Array:
    """The other half: [B, Q, D], of what `attended` gives."""
    return sharding.constrain_slots(x + self.mlp(self.mlp_norm(x)))

  def init_all(self, x: jax.Array, position: jax.Array) -> jax.Array:
    """Touches every parameter; for init."""
    query, _, _ = self.qkv(x, position)
    return self.output(x, query)

"""What a decoder layer is made of: Qwen2's norm, attention and MLP.

Modules declare weights and compute on one layer. Parameters carry logical axis
names; the table in mesh.py says what they mean on devices.
"""

import math

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax.spec import sizes

zeros, ones = nn.initializers.zeros, nn.initializers.ones
small = nn.initializers.normal(0.02)


def fan_in(inputs: int = 1):
  """Normal, scaled so that outputs are as large as inputs.

  A fixed 0.02 would do at a width of thousands; narrow models hardly learn
  from it.

  Args:
    inputs: how many first axes are contracted.
  """

  def init(key, shape, dtype=jnp.float32):
    return jax.random.normal(key, shape, dtype) * (
      math.prod(shape[:inputs]) ** -0.5
    )

  return init


def param(module: nn.Module, name: str, shape, axes, init=fan_in()):
  """A float32 parameter of `module` with logical axis names."""
  return module.param(name, nn.with_logical_partitioning(init, axes), shape)


def dense(x, kernel, inputs: int = 1, dtype=None):
  """Contracts the last `inputs` axes of x with the first ones of the kernel.

  One matrix product of two matrices: XLA's CPU backend is up to three times
  slower at the gradient of the same product with more axes. `dtype` is that of
  the result, where it is not the inputs'.
  """
  outputs = kernel.shape[inputs:]
  lead = x.shape[: x.ndim - inputs]
  columns = math.prod(kernel.shape[:inputs])
  out = jnp.matmul(
    x.reshape(-1, columns),
    kernel.reshape(columns, -1),
    preferred_element_type=dtype,
  )
  return out.reshape(*lead, *outputs)


def constrain_batch(x):
  """[B, ...] with rows where they belong and all else whole.

  Said where a layer begins and ends, because a compiler that guesses spreads
  activations as weights lie, and sends them instead of the weights.
  """
  return nn.with_logical_constraint(x, ('batch',) + (None,) * (x.ndim - 1))


def remat(body, compute, prevent_cse: bool):
  """The body of a scan, recomputed in the backward pass if `compute` says so.

  Args:
    body: of `jax.lax.scan`.
    compute: a models.compute.Compute.
    prevent_cse: see jax.checkpoint; a scan does not need it.
  """
  if not compute.remat:
    return body
  policy = (
    jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    if compute.remat_policy == 'dots'
    else None
  )
  return jax.checkpoint(body, prevent_cse=prevent_cse, policy=policy)


class RMSNorm(nn.Module):
  """x / rms(x) * scale, computed in float32; [..., D] -> [..., D]."""

  eps: float = 1e-6

  @nn.compact
  def __call__(self, x):
    scale = param(self, 'scale', x.shape[-1:], ('norm',), ones)
    high = x.astype(jnp.float32)
    mean = jnp.mean(high * high, axis=-1, keepdims=True)
    return scale * (high * jax.lax.rsqrt(mean + self.eps)).astype(x.dtype)


def rope(x, position, theta):
  """Rotary position embedding, halves rotated as in Qwen2.

  Args:
    x: [B, S, N, H].
    position: int32 [B, S].
    theta: base of the frequencies.
  """
  half = x.shape[-1] // 2
  frequency = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
  angle = position[..., None, None].astype(jnp.float32) * frequency
  sin, cos = jnp.sin(angle), jnp.cos(angle)
  a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
  return jnp.concatenate(
    [a * cos - b * sin, b * cos + a * sin], axis=-1
  ).astype(x.dtype)


def take_slots(x, index):
  """x[b, index[b, q]]; all of x where index is None."""
  if index is None:
    return x
  return jnp.take_along_axis(
    x, index.reshape(*index.shape, *(1,) * (x.ndim - 2)), axis=1
  )


class Attention(nn.Module):
  """Grouped-query attention: biases on q, k and v, none on the output.

  Projections alone: who sees whom, between them, is the caller's.
  """

  size: sizes.Language

  def setup(self) -> None:
    size = self.size
    d, n, k, h = size.width, size.heads, size.key_heads, size.head_width
    heads, key_heads = ('heads', 'head'), ('key_heads', 'head')
    self.query = param(self, 'query', (d, n, h), ('embed', *heads))
    self.query_bias = param(self, 'query_bias', (n, h), heads, zeros)
    self.key = param(self, 'key', (d, k, h), ('embed', *key_heads))
    self.key_bias = param(self, 'key_bias', (k, h), key_heads, zeros)
    self.value = param(self, 'value', (d, k, h), ('embed', *key_heads))
    self.value_bias = param(self, 'value_bias', (k, h), key_heads, zeros)
    self.out = param(self, 'out', (n, h, d), (*heads, 'embed'), fan_in(2))

  def query_key(
    self, x: jax.Array, position: jax.Array, queries: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array]:
    """[B, S, D] -> query [B, Q, N, H] and key [B, S, K, H], with rope.

    Args:
      x: normalised hidden states.
      position: int32 [B, S].
      queries: int32 [B, Q], the slots that ask; None for all.
    """
    query = dense(take_slots(x, queries), self.query) + self.query_bias
    key = dense(x, self.key) + self.key_bias
    return (
      rope(query, take_slots(position, queries), self.size.rope_theta),
      rope(key, position, self.size.rope_theta),
    )

  def values(self, x: jax.Array) -> jax.Array:
    """[B, S, D] -> [B, S, K, H]."""
    return dense(x, self.value) + self.value_bias

  def output(self, context: jax.Array) -> jax.Array:
    """[B, Q, N, H] -> [B, Q, D]."""
    return dense(context, self.out, 2)


class Mlp(nn.Module):
  """SwiGLU: down(silu(gate(x)) * up(x)); [..., D] -> [..., D]."""

  size: sizes.Language

  @nn.compact
  def __call__(self, x):
    d, f = self.size.width, self.size.mlp
    gate = param(self, 'gate', (d, f), ('embed', 'mlp'))
    up = param(self, 'up', (d, f), ('embed', 'mlp'))
    down = param(self, 'down', (f, d), ('mlp', 'embed'))
    return dense(nn.silu(dense(x, gate)) * dense(x, up), down)


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
    x = self.attention_norm(constrain_batch(x))
    return self.attention.query_key(x, position, queries)

  def qkv(
    self, x: jax.Array, position: jax.Array, queries: jax.Array | None = None
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Query [B, Q, N, H], key and value [B, S, K, H].

    Args:
      x: [B, S, D].
      position: int32 [B, S].
      queries: int32 [B, Q], the slots that ask; None for all of them.
    """
    x = self.attention_norm(constrain_batch(x))
    query, key = self.attention.query_key(x, position, queries)
    return query, key, self.attention.values(x)

  def output(self, x: jax.Array, context: jax.Array) -> jax.Array:
    """The layer's result of those that asked: [B, Q, D].

    Args:
      x: [B, Q, D], what the layer was given of them.
      context: [B, Q, N, H], what attention found for them.
    """
    x = constrain_batch(constrain_batch(x) + self.attention.output(context))
    return constrain_batch(x + self.mlp(self.mlp_norm(x)))

  def init_all(self, x: jax.Array, position: jax.Array) -> jax.Array:
    """Touches every parameter; for init."""
    query, _, _ = self.qkv(x, position)
    return self.output(x, query)


def stacked(init_one, count: int):
  """An initialiser of `count` trees, stacked on a first axis called layers.

  The stack is one parameter subtree, [count, ...] a leaf: kinds, blocks and
  scans are views made of it when it is applied.

  Args:
    init_one: key -> parameters of one layer.
    count: how many.
  """

  def init(key):
    tree = jax.vmap(init_one)(jax.random.split(key, count))
    return nn.meta.add_axis(tree, 0, {nn.meta.PARTITION_NAME: 'layers'})

  return init


def cast(tree, dtype):
  """The tree with its leaves in the dtype that is computed in."""
  return jax.tree.map(lambda x: x.astype(dtype), tree)

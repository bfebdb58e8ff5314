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
  """Grouped-query attention: biases on q, k and v, none on the output."""

  size: sizes.Language

  @nn.compact
  def __call__(self, x, position, attend, keep=None):
    """[B, S, D] -> [B, S, D]; attend(query, key, value) gives the context."""
    size = self.size
    d, n, k, h = size.width, size.heads, size.key_heads, size.head_width

    def linear(x, name, heads, axis):
      kernel = param(self, name, (d, heads, h), ('embed', axis, 'head'))
      bias = param(self, name + '_bias', (heads, h), (axis, 'head'), zeros)
      return dense(x, kernel) + bias

    query = rope(
      linear(take_slots(x, keep), 'query', n, 'heads'),
      take_slots(position, keep),
      size.rope_theta,
    )
    key = rope(linear(x, 'key', k, 'key_heads'), position, size.rope_theta)
    value = linear(x, 'value', k, 'key_heads')
    out = param(self, 'out', (n, h, d), ('heads', 'head', 'embed'), fan_in(2))
    return dense(attend(query, key, value), out, 2)


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
  """One decoder layer, the same weights whatever its kind."""

  size: sizes.Language

  @nn.compact
  def __call__(self, x, position, attend, keep=None):
    """Pre-norm attention and MLP with residuals; [B, S, D] -> [B, S, D].

    With `keep`, int32 [B, Q], only these slots go on: [B, Q, D]. The others are
    looked at and no more.
    """
    norm = lambda name: RMSNorm(self.size.norm_eps, name=name)
    x = constrain_batch(x)
    x = constrain_batch(
      take_slots(x, keep)
      + Attention(self.size, name='attention')(
        norm('attention_norm')(x), position, attend, keep
      )
    )
    return constrain_batch(x + Mlp(self.size, name='mlp')(norm('mlp_norm')(x)))


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

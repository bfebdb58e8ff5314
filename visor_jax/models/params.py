"""How modules declare their weights, and multiply by them.

Parameters carry logical axis names; the table in mesh.py says what they mean
on devices.
"""

from collections.abc import Callable
import functools
import math
from typing import Any
from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

Initializer = Callable[..., jax.Array]  # (key, shape, dtype) -> values
Tree = Any  # nested parameters, arrays at the leaves

zeros: Initializer = nn.initializers.zeros
ones: Initializer = nn.initializers.ones
small: Initializer = nn.initializers.normal(0.02)


def fan_in(inputs: int = 1) -> Initializer:
  """Normal, scaled so that outputs are as large as inputs.

  A fixed 0.02 would do at a width of thousands; narrow models hardly learn
  from it.

  Args:
    inputs: how many first axes are contracted.
  """

  def init(
    key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
  ) -> jax.Array:
    scale = math.prod(shape[:inputs]) ** -0.5
    return jax.random.normal(key, shape, dtype) * scale

  return init


def param(
  module: nn.Module,
  name: str,
  shape: tuple[int, ...],
  axes: tuple[str | None, ...],
  init: Initializer = fan_in(),
) -> jax.Array:
  """A float32 parameter of `module` with logical names of axes.

  Those without a name lie on every device whole.
  """
  # Inside its module a parameter is an array; outside, in its box of names.
  boxed: Any = module.param(
    name, nn.with_logical_partitioning(init, axes), shape
  )
  return boxed


def stacked(
  init_one: Callable[[jax.Array], Tree], count: int
) -> Callable[[jax.Array], Tree]:
  """An initialiser of `count` trees, stacked on a first axis called layers.

  The stack is one parameter subtree, [count, ...] a leaf: kinds, blocks and
  scans are views made of it when it is applied.

  Args:
    init_one: makes the parameters of one layer from a key.
    count: layers.
  """

  def init(key: jax.Array) -> Tree:
    tree = jax.vmap(init_one)(jax.random.split(key, count))
    return nn.meta.add_axis(tree, 0, {nn.meta.PARTITION_NAME: 'layers'})

  return init


def take_layer(tree: Tree, index: int | jax.Array) -> Tree:
  """One layer's parameters of a stack."""
  return jax.tree.map(lambda x: x[index], tree)


class Uncast(NamedTuple):
  """Weights that `cast` will cast, and the place of their gradient.

  Attributes:
    weights: through which no gradient goes.
    place: in the dtype they are cast to; only its gradient is looked at.
  """

  weights: jax.Array
  place: jax.Array


def uncast(tree: Tree, dtype: DTypeLike) -> Tree:
  """What a loop over layers gets, instead of their weights, for `cast`.

  A loop stacks the gradients of what it is given, in the dtype of that, and
  all of them are there until their norm is known. So those of float32 weights
  take twice the bytes of what the layers make, which is in the dtype that they
  compute in. Here the stack is in that dtype, and cast behind the loop: the
  same bits.
  """

  def one(x: jax.Array) -> jax.Array | Uncast:
    if x.dtype == dtype:
      return x
    return Uncast(jax.lax.stop_gradient(x), _place(x, dtype))

  return jax.tree.map(one, tree)


def cast(tree: Tree, dtype: DTypeLike) -> Tree:
  """The tree, or what `uncast` made of it, in the dtype that is computed in."""

  def one(x: jax.Array | Uncast) -> jax.Array:
    return _cast(*x) if isinstance(x, Uncast) else x.astype(dtype)

  return jax.tree.map(one, tree, is_leaf=lambda x: isinstance(x, Uncast))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _place(weights: jax.Array, dtype: DTypeLike) -> jax.Array:
  return jnp.zeros(weights.shape, dtype)


@_place.defjvp
def _place_jvp(
  dtype: DTypeLike, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
  return _place(*primals, dtype), tangents[0].astype(dtype)


@jax.custom_jvp
def _cast(weights: jax.Array, place: jax.Array) -> jax.Array:
  return weights.astype(place.dtype)


@_cast.defjvp
def _cast_jvp(
  primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
  return _cast(*primals), tangents[1]


def dense(
  x: jax.Array,
  kernel: jax.Array,
  inputs: int = 1,
  dtype: DTypeLike | None = None,
) -> jax.Array:
  """Contracts the last `inputs` axes of x with the first ones of the kernel.

  One matrix product of two matrices: XLA's CPU backend is up to three times
  slower at the gradient of the same product with more axes.

  Args:
    x: [..., inputs...].
    kernel: [inputs..., outputs...].
    inputs: how many axes are contracted.
    dtype: of the result, where it is not that of x.

  Returns:
    [..., outputs...].
  """
  columns = math.prod(kernel.shape[:inputs])
  product = jnp.matmul(
    x.reshape(-1, columns),
    kernel.reshape(columns, -1),
    preferred_element_type=dtype,
  )
  return product.reshape(*x.shape[: x.ndim - inputs], *kernel.shape[inputs:])


def take_slots(x: jax.Array, index: jax.Array | None) -> jax.Array:
  """[B, S, ...] -> [B, Q, ...], slot index[b, q] of each row; None for all."""
  if index is None:
    return x
  broadcast = index.reshape(*index.shape, *(1,) * (x.ndim - 2))
  return jnp.take_along_axis(x, broadcast, axis=1)

"""The output head and its cross-entropy, fused: logits are never all there.

Chunk by chunk, logits are made, and at once the gradients of what the loss
takes: in the backward pass nothing is left to do, and the head is gathered from
the devices it lies on once. Each device sums the head's gradient over its own
slots in float32; sums of devices are added in the dtype that is computed in.
(Liger Kernel, arXiv:2410.10989, fuses them so within a kernel.)

Legend: B batch, T text, D width, C vocabulary; M slots of a chunk.
"""

import functools
from typing import Any
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from visor_jax.models import sharding


class Sums(NamedTuple):
  """Over targets, float32 scalars."""

  loss: jax.Array
  right: jax.Array  # targets that are the likeliest tokens


# Of the summed loss: that of hidden [B, T, D], and of the head as each device
# has it, [devices, D, C], to be summed.
_Gradients = tuple[jax.Array, jax.Array]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def linear_cross_entropy(
  hidden: jax.Array,
  head: jax.Array,
  target: jax.Array,
  weight: jax.Array,
  chunk: int,
) -> Sums:
  """Cross-entropy of the targets, given what the head multiplies.

  Args:
    hidden: [B, T, D], which lies as `sharding.constrain_slots` has it.
    head: [D, C], in the dtype of `hidden`.
    target: int32 [B, T].
    weight: bool [B, T], which slots count.
    chunk: slots of a row whose logits are held at a time.
  """
  return _of_rows(hidden, head, target, weight, chunk, False)[0]


def _forward(
  hidden: jax.Array,
  head: jax.Array,
  target: jax.Array,
  weight: jax.Array,
  chunk: int,
) -> tuple[Sums, _Gradients]:
  return _of_rows(hidden, head, target, weight, chunk, True)


def _backward(chunk: int, gradients: _Gradients, of_sums: Sums) -> tuple:
  del chunk
  of_hidden, of_head = gradients
  scale = of_sums.loss.astype(of_hidden.dtype)
  # Not jnp.sum, which adds, and sends, float32.
  of_head = jax.lax.reduce_sum(of_head, [0])
  return of_hidden * scale, of_head * scale, None, None


linear_cross_entropy.defvjp(_forward, _backward)


def _of_rows(
  hidden: jax.Array,
  head: jax.Array,
  target: jax.Array,
  weight: jax.Array,
  chunk: int,
  gradients: bool,
) -> tuple[Sums, Any]:
  """Each device on its own slots, where there are several."""
  run = functools.partial(_of_device, chunk=chunk, gradients=gradients)
  mesh = jax.sharding.get_abstract_mesh()
  if not mesh.empty and mesh.size > 1:
    slots = sharding.spec(target.shape, 'batch', 'slots')
    axes = tuple(a for entry in slots for a in sharding.spec_axes(entry))
    each = PartitionSpec(axes)
    run = jax.shard_map(
      run,
      in_specs=(slots, PartitionSpec(), slots, slots),
      out_specs=(each, (slots, each) if gradients else None),
      axis_names={*axes},
      check_vma=False,
    )
  sums, of_inputs = run(hidden, head, target, weight)
  return Sums(*(x.sum() for x in sums)), of_inputs


def _of_device(
  hidden: jax.Array,
  head: jax.Array,
  target: jax.Array,
  weight: jax.Array,
  chunk: int,
  gradients: bool,
) -> tuple[Sums, _Gradients | None]:
  """Sums, [1] each, and gradients of some slots."""
  b, t, d = hidden.shape

  def add(
    carry: tuple[Sums, Any], part: tuple[jax.Array, ...]
  ) -> tuple[tuple[Sums, Any], Any]:
    sums, of_head = carry
    hidden, target, weight = (x.reshape(-1, *x.shape[2:]) for x in part)
    logits = _product(hidden, head)
    top = logits.max(axis=1, keepdims=True)
    shares = jnp.exp(logits - top)
    total = shares.sum(axis=1, keepdims=True)
    is_target = jnp.arange(head.shape[1]) == target[:, None]
    of_target = jnp.sum(logits, axis=1, where=is_target)
    loss = jnp.log(total[:, 0]) + top[:, 0] - of_target
    right = logits.argmax(axis=1) == target
    sums = Sums(
      *(s + jnp.sum(x, where=weight) for s, x in zip(sums, (loss, right)))
    )
    if not gradients:
      return (sums, of_head), None
    of_logits = jnp.where(weight[:, None], shares / total - is_target, 0)
    of_logits = of_logits.astype(hidden.dtype)
    of_hidden = _product(of_logits, head.T).astype(hidden.dtype)
    of_head += _product(hidden.T, of_logits)
    return (sums, of_head), of_hidden.reshape(b, -1, d)

  zero = jnp.zeros(1, jnp.float32)
  of_head = jnp.zeros(head.shape if gradients else (), jnp.float32)
  parts = jax.tree.map(
    functools.partial(_chunks, size=min(chunk, t)), (hidden, target, weight)
  )
  (sums, of_head), of_hidden = jax.lax.scan(
    add, (Sums(zero, zero), of_head), parts
  )
  if not gradients:
    return sums, None
  of_hidden = of_hidden.swapaxes(0, 1).reshape(b, -1, d)[:, :t]
  return sums, (of_hidden, of_head.astype(head.dtype)[None])


def _product(x: jax.Array, y: jax.Array) -> jax.Array:
  return jnp.matmul(x, y, preferred_element_type=jnp.float32)


def _chunks(x: jax.Array, size: int) -> jax.Array:
  """[B, T, ...] to [chunks, B, size, ...]; the rest is filled with zeros."""
  x = jnp.pad(x, [(0, 0), (0, -x.shape[1] % size)] + [(0, 0)] * (x.ndim - 2))
  x = x.reshape(x.shape[0], -1, size, *x.shape[2:])
  return x.swapaxes(0, 1)

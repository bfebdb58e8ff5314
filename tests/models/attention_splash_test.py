"""Splash kernels of TPUs, interpreted, equal chunks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import rows
from visor_jax.models import attention
from visor_jax.models import attention_chunks
from visor_jax.models import attention_splash
from visor_jax.models import positions


def value(f, tensors):
  """What is read, and the gradients of all three."""
  weight = np.random.default_rng(1).standard_normal(tensors[0].shape)

  def g(tensors):
    return jnp.sum(f(*tensors) * weight)

  return rows.jit(lambda tensors: (f(*tensors), jax.grad(g)(tensors)))(tensors)


def tensors(s, n, k, h):
  rng = np.random.default_rng(0)
  shapes = (2, s, n, h), (2, s, k, h), (2, s, k, h)
  return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize('head_width', [64, 128])
def test_splash_is_chunked(head_width):
  """Two rows packed differently, of three blocks, the last one not full."""
  lengths, size = [[100, 156, 60], [0, 200, 156]], 380
  segment = [np.repeat([1, 2, 3, 0], [*n, size - sum(n)]) for n in lengths]
  at = positions.Slots(
    jnp.array(segment, jnp.int32),
    jnp.broadcast_to(jnp.arange(size), (2, size)),
  )
  inputs = tensors(size, 2, 1, head_width)
  chunks = functools.partial(
    attention_chunks.attend, query_slots=at, key_slots=at, chunk=100
  )
  rows.close(value(splash(at.segment), inputs), value(chunks, inputs))


def splash(segment, parts=1, **kwargs):
  """Each part of the queries by itself."""

  def attend(query, key, value):
    size = query.shape[1] // parts
    return jnp.concatenate(
      [
        attention_splash.attend(
          query[:, first : first + size],
          key,
          value,
          segment[:, first : first + size],
          segment,
          jnp.int32(first),
          interpret=True,
          **kwargs,
        )
        for first in range(0, query.shape[1], size)
      ],
      axis=1,
    )

  return attend


def test_parts_of_the_queries_find_what_all_of_them_do():
  """As devices do along which the slots of a row are spread."""
  segment = jnp.repeat(jnp.array([[1, 1, 2, 0], [3, 4, 4, 4]]), 128, axis=1)
  inputs = tensors(512, 2, 1, 64)
  rows.close(value(splash(segment, 2), inputs), value(splash(segment), inputs))


def test_splash_of_a_tower_is_plain_attention():
  """All of a segment see all of it, and nothing what fills the last block."""
  inputs = tensors(150, 2, 2, 72)
  segment = jnp.repeat(jnp.array([[1, 2, 3], [1, 1, 2]]), 50, axis=1)
  plain = functools.partial(attention.attend_all, segment=segment)
  for parts in 1, 3:
    of_parts = splash(segment, parts, causal=False)
    rows.close(value(of_parts, inputs), value(plain, inputs))

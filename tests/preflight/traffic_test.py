"""What a program moves is true: by hand."""

import jax
from jax import numpy as jnp
import pytest

from visor_jax.preflight import hlo

ROW = 64 * 4  # bytes


def moved(f, *shapes):
  arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  compiled = jax.jit(f).lower(*arrays).compile()
  return hlo.counts(compiled.as_text(), {'data': 1})[0].moved


def test_a_fusion_reads_what_it_takes_and_writes_what_it_gives():
  """Once each, however much is computed in between."""
  assert moved(lambda x: jnp.tanh(x) * x + x, (32, 64)) == 2 * 32 * ROW


def test_of_what_is_sliced_only_the_slice():
  def one_by_one(x):
    def add(i, total):
      return total + jnp.sin(x[i])

    return jax.lax.fori_loop(0, 32, add, jnp.zeros(64))

  every = 32 * ROW
  assert every < moved(one_by_one, (32, 64)) < 5 * every


def test_of_what_is_updated_only_the_update():
  def one_by_one(x):
    return jax.lax.scan(lambda c, row: (c + 1, jnp.sin(row) + c), 0.0, x)[1]

  every = 32 * ROW
  assert 2 * every < moved(one_by_one, (32, 64)) < 5 * every


@pytest.mark.parametrize(
  'result,operands,want',
  [
    # What cuBLAS works in is no result.
    ('(bf16[8,8]{1,0}, s8[33554432]{0})', 'bf16[8,8]{1,0}', 2 * 128),
    # On a TPU's chip.
    ('bf16[8,8]{1,0:T(8,128)(2,1)S(1)}', 'bf16[8,8]{1,0:T(8,128)(2,1)}', 128),
    # On a GPU a space of memory.
    ('bf16[8,8]{1,0:S(1)}', 'bf16[8,8]{1,0}', 2 * 128),
  ],
)
def test_where_an_array_lies(result, operands, want):
  text = f"""HloModule m
ENTRY %main (x: bf16[8,8]) -> bf16[8,8] {{
  %x = {operands} parameter(0)
  ROOT %y = {result} custom-call(%x), custom_call_target="other"
}}
"""
  assert hlo.counts(text, {'data': 1})[0].moved == want

"""Temporaries are in what a program takes."""

import jax
from jax import numpy as jnp

from visor_jax.runtime import program_memory


def test_a_program_takes_its_arguments_its_results_and_what_is_between():
  """A product of 4 MB between two vectors of 4 KB."""
  x = jnp.zeros(1024)

  def f(x):
    square = x[:, None] @ x[None]
    return jnp.sort(square, axis=0).sum(0)

  compiled = jax.jit(f).lower(x).compile()
  taken = program_memory.held(compiled, 'cpu')
  assert 2**22 + 2 * 2**12 <= taken < 2**24


def test_a_result_that_takes_the_place_of_an_argument_is_counted_once():
  x = jnp.zeros(2**20)
  compiled = jax.jit(lambda x: x + 1, donate_argnums=0).lower(x).compile()
  assert 2**22 <= program_memory.held(compiled, 'cpu') < 1.1 * 2**22

"""Parameters are chosen by path: each exactly once, or an error with names."""

import jax
from jax import numpy as jnp
import pytest

from visor_jax.runtime import param_paths

PARAMS = {
  'vision': {'kernel': jnp.ones((2, 3))},
  'llm': {'layers': {'up': jnp.ones(3)}, 'cross': {'up': jnp.ones(3)}},
}


@pytest.mark.parametrize(
  'patterns,want',
  [
    ((('.*', 1),), [1, 1, 1]),
    ((('vision/.*', 1), ('.*', 2)), [1, 2, 2]),
    ((('.*', 2), ('vision/.*', 1)), [2, 2, 2]),  # the first match counts
    ((('llm/cross/up', 1), ('llm/.*', 2), ('vision/.*', None)), [None, 1, 2]),
  ],
)
def test_every_path_has_the_value_of_its_first_match(patterns, want):
  paths = ['vision/kernel', 'llm/cross/up', 'llm/layers/up']
  assert param_paths.by_path(patterns, paths) == dict(zip(paths, want))


@pytest.mark.parametrize(
  'patterns',
  [
    (),
    (('vision/.*', 1),),
    (('vision/.*|llm', 1),),  # a part is no match
    (('layers', 1), ('vision/kernel', 1), ('cross', 1)),
  ],
)
def test_a_path_without_a_pattern_is_named(patterns):
  """A parameter that nobody speaks of must not be frozen by accident."""
  with pytest.raises(ValueError) as e:
    param_paths.by_path(
      patterns, ['vision/kernel', 'llm/cross/up', 'llm/layers/up']
    )
  assert "'llm/cross/up', 'llm/layers/up'" in str(e.value)
  for pattern, _ in patterns:
    assert pattern in str(e.value)


def test_flatten_and_back():
  flat = param_paths.flatten(PARAMS)
  assert set(flat) == {'vision/kernel', 'llm/layers/up', 'llm/cross/up'}
  assert jax.tree.structure(param_paths.unflatten(flat)) == jax.tree.structure(
    PARAMS
  )

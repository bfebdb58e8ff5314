"""Checkpoints of a stage for tests, and what reads them."""

import jax
from jax import numpy as jnp

from visor_jax.checkpoint import store

PARAMS = {'llm': {'w': jnp.arange(300.0).reshape(3, 100)}, 'b': jnp.ones(5)}
OPT = ({'llm/w': jnp.full((3, 100), 0.1), 'b': jnp.zeros(5)}, jnp.int32(7))


def like(tree):
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree
  )


def write(folder, *steps, keep=2):
  """Checkpoints of a stage; returns the paths of those that are kept."""
  with store.Checkpoints(folder, keep) as saved:
    for step in steps:
      saved.save(step, jax.tree.map(lambda x: x + step, PARAMS), OPT)
  return sorted(folder.iterdir(), key=lambda p: (len(p.name), p.name))


def resume(folder):
  with store.Checkpoints(folder) as saved:
    return saved.resume()


def restored(folder, step):
  with store.Checkpoints(folder) as saved:
    return saved.restore(step, like(PARAMS), like(OPT))

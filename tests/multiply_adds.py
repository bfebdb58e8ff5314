"""Multiply-adds of a traced program: its products and convolutions."""

import math

import jax


def macs(jaxpr, on=None):
  """Multiply-adds of B rows; `on` says which branch every cond takes."""
  jaxpr = getattr(jaxpr, 'jaxpr', jaxpr)
  total = 0
  for eqn in jaxpr.eqns:
    if eqn.primitive.name == 'dot_general':
      (contracted, _), _ = eqn.params['dimension_numbers']
      shape = eqn.invars[0].aval.shape
      total += math.prod(eqn.outvars[0].aval.shape) * math.prod(
        shape[i] for i in contracted
      )
    elif eqn.primitive.name == 'conv_general_dilated':
      # Each output is a product with the inputs of its group of channels.
      kernel = math.prod(eqn.invars[1].aval.shape)
      channels = eqn.params['dimension_numbers'].rhs_spec[0]
      kernel //= eqn.invars[1].aval.shape[channels]
      total += math.prod(eqn.outvars[0].aval.shape) * kernel
    elif eqn.primitive.name == 'cond':
      branches = [macs(branch, on) for branch in eqn.params['branches']]
      if not min(branches):  # chunks of attention that nobody sees
        total += max(branches)
        continue
      assert on is not None, 'a static plan has no cond'
      total += branches[int(on)]
    else:
      inside = sum(
        macs(j, on)
        for j in jax.tree.leaves(list(eqn.params.values()), is_leaf=is_jaxpr)
        if is_jaxpr(j)
      )
      assert not inside or eqn.primitive.name != 'while', 'length unknown'
      total += eqn.params.get('length', 1) * inside
  return total


def is_jaxpr(x):
  return hasattr(x, 'eqns') or hasattr(x, 'jaxpr')

"""Layers that repeat: cut from the stacks, scanned, recomputed backwards."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import TypeVar

import jax

from visor_jax.models import compute as compute_lib
from visor_jax.models import params
from visor_jax.spec import plan as plans

State = TypeVar('State')
Inputs = TypeVar('Inputs')
Body = Callable[[State, Inputs], tuple[State, Any]]


def cut(
  stack: params.Tree, layers: Sequence[int], repeat: plans.Repeat
) -> params.Tree:
  """What a stack holds for the layers of a Repeat.

  Args:
    stack: leaves [number of `layers`, ...].
    layers: which decoder layer each entry of the stack belongs to.
    repeat: the layers asked for.

  Returns:
    Leaves [count, entries a period, ...].
  """
  end = repeat.start + repeat.period * repeat.count
  first = sum(i < repeat.start for i in layers)
  length = sum(repeat.start <= i < end for i in layers)
  return jax.tree.map(
    lambda x: x[first : first + length].reshape(
      repeat.count, length // repeat.count, *x.shape[1:]
    ),
    stack,
  )


def remat(body: Body, compute: compute_lib.Compute, prevent_cse: bool) -> Body:
  """The body of a scan, recomputed in the backward pass if `compute` says so.

  Args:
    body: (state, inputs) -> (state, outputs), as for `jax.lax.scan`.
    compute: says whether, and what is saved.
    prevent_cse: see jax.checkpoint; a scan does not need it.
  """
  if not compute.remat:
    return body
  policy = {
    'input': None,
    'dots': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
  }[compute.remat_policy]
  return jax.checkpoint(body, prevent_cse=prevent_cse, policy=policy)


def scan(
  body: Body, state: State, inputs: Inputs, count: int
) -> tuple[State, Any]:
  """`jax.lax.scan`, written out where there is one period only.

  Args:
    body: (state, inputs of a period) -> (state, outputs of a period).
    state: what flows from period to period.
    inputs: leaves [count, ...].
    count: periods.

  Returns:
    The last state, and outputs with leaves [count, ...].
  """
  if count > 1:
    return jax.lax.scan(body, state, inputs)
  state, outputs = body(state, params.take_layer(inputs, 0))
  return state, jax.tree.map(lambda y: y[None], outputs)

"""Greedy answers: traced once for every plan.

Answers of the built-in suite are a word or two, so every new token runs the
prompt again and there is no cache.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.jit, static_argnames=('model', 'count'))
def generate(model, params, batch, plan, count: int):
  """Appends greedy tokens to every prompt.

  Args:
    model: a models.visor.Visor.
    params: nested.
    batch: Batch of one prompt a row, [B, T], with `count` slots behind each.
    plan: bool [n_optional], or None for the dense base.
    count: tokens to make.

  Returns:
    int32 [B, count].
  """
  return _extend(model, params, batch, plan, count, None)


@functools.partial(jax.jit, static_argnames='model')
def route(model, params, batch):
  """Router scores [B, plans] and the stream that `resume` goes on from."""
  scores, stream = model.apply({'params': params}, batch, method='route')
  return scores[:, 0], stream


@functools.partial(jax.jit, static_argnames=('model', 'count'))
def resume(model, params, stream, batch, plan, count: int):
  """`generate` that goes on from `route`: nothing is computed twice."""
  return _extend(model, params, batch, plan, count, stream)


def _extend(model, params, batch, plan, count, stream):
  every = jnp.arange(batch.tokens.shape[0])
  last = jnp.argmax(
      batch.text_place == batch.prompt_place[:, :1], axis=1)  # slot, [B]
  made = []
  for i in range(count):
    if i == 0 and stream is not None:
      logits = model.apply({'params': params}, stream, batch, plan,
                           method='finish')
    else:
      logits = model.apply({'params': params}, batch, plan)
    made.append(jnp.argmax(logits[every, last + i], axis=-1).astype(jnp.int32))
    batch = dataclasses.replace(
        batch, tokens=batch.tokens.at[every, last + i + 1].set(made[-1]))
  return jnp.stack(made, axis=1)

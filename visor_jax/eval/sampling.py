"""How the next token is drawn from its logits."""

import dataclasses
import math
import numbers

import jax
import jax.numpy as jnp

from visor_jax.eval import logit_rules
from visor_jax.spec import generation


@dataclasses.dataclass(frozen=True)
class Sampling:
  """How tokens are drawn.

  Attributes:
    tokens: the most to generate.
    ends: tokens after which a row is done; the first fills the rest of it.
    temperature: 0 takes the likeliest token.
    top_p: draw among the likeliest tokens that together have this probability.
    rules: what the checkpoint says of its next token beside the logits.
  """

  tokens: int
  ends: tuple[int, ...]
  temperature: float = 0.0
  top_p: float = 1.0
  rules: generation.Rules = generation.Rules()


def check(tokens: int, temperature: float, top_p: float) -> None:
  """Checks what a person has asked for.

  Raises:
    ValueError: naming what cannot be, and what was expected.
  """
  for name, value, fits, expected in (
    (
      'max_new_tokens',
      tokens,
      isinstance(tokens, numbers.Integral) and tokens >= 1,
      'a whole number of at least 1',
    ),
    (
      'temperature',
      temperature,
      isinstance(temperature, numbers.Real) and 0 <= temperature < math.inf,
      'a finite number of at least 0, which takes the likeliest token',
    ),
    (
      'top_p',
      top_p,
      isinstance(top_p, numbers.Real) and 0 < top_p <= 1,
      'a number above 0 and at most 1',
    ),
  ):
    if not fits:
      raise ValueError(f'{name} is {value!r}; expected {expected}')


def draw(
  sampling: Sampling,
  logits: jax.Array,
  so_far: logit_rules.Sequences,
  number: jax.Array | int,
  key: jax.Array,
) -> jax.Array:
  """The next tokens, int32 [B].

  Args:
    sampling: how to draw.
    logits: float32 [B, C].
    so_far: prompts and the tokens behind them.
    number: of the new token, counted from 0.
    key: of the draw.
  """
  if sampling.rules.act:
    logits = logit_rules.apply(
      sampling.rules, logits, so_far, number, sampling.tokens, sampling.ends
    )
  if sampling.temperature == 0:
    return jnp.argmax(logits, axis=-1).astype(jnp.int32)
  logits = logits / sampling.temperature
  if sampling.top_p < 1:
    order = jnp.argsort(-logits, axis=-1)
    ranked = jnp.take_along_axis(logits, order, axis=-1)
    probability = jax.nn.softmax(ranked, axis=-1)
    # A token stays while those before it have not reached top_p.
    before = jnp.cumsum(probability, axis=-1) - probability
    ranked = jnp.where(before < sampling.top_p, ranked, -jnp.inf)
    logits = jnp.put_along_axis(logits, order, ranked, axis=-1, inplace=False)
  return jax.random.categorical(key, logits, axis=-1).astype(jnp.int32)

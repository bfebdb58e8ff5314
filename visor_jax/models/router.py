"""The router: scores of the plans, from a token that only looks on.

It knows nothing of tasks: it reads one vector per prompt.
"""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp

from visor_jax import sizes
from visor_jax.models import layers

TOKENS = ('learned', 'last', 'visual')


@dataclasses.dataclass(frozen=True)
class Options:
  """Open questions of the paper; the keys under `model.router`."""

  token: str = 'learned'  # or 'last' text token of the prompt, mean of 'visual'
  hidden: int = 128
  plans: int = 9  # width of the output: the most plans that can be viable


class Router(nn.Module):
  """A small MLP before the first optional SELF layer."""

  size: sizes.Language
  options: Options

  def setup(self):
    d, f = self.size.width, self.options.hidden
    zeros = layers.zeros
    get = lambda *args: layers.weight(self, *args)
    self.token = get('token', (d,), ('embed',), layers.small)
    self.norm = layers.RMSNorm(self.size.norm_eps)
    self.up = get('up', (d, f), ('embed', 'mlp'))
    self.up_bias = get('up_bias', (f,), ('mlp',), zeros)
    self.down = get('down', (f, self.options.plans), ('mlp', 'plans'), zeros)
    self.bias = get('bias', (self.options.plans,), ('plans',), zeros)

  def __call__(self, x):
    """[B, R, D] -> [B, R, plans]: a score for every viable plan, by cost."""
    x = self.norm(x.astype('float32'))
    return nn.gelu(x @ self.up + self.up_bias) @ self.down + self.bias


def choose(scores, viable: int, confidence: float | None):
  """From scores to plans.

  Args:
    scores: [..., plans], as the router gives them.
    viable: how many plans are viable; they are ordered by cost.
    confidence: the cheapest plan whose cumulative probability (that it or a
      cheaper one suffices) reaches it, 1 always the largest plan; None takes
      the likeliest.

  Returns:
    int [...], the number of the plan.
  """
  probability = jax.nn.softmax(scores[..., :viable], axis=-1)
  if confidence is None:
    return jnp.argmax(probability, axis=-1)
  # Summed from the dear end, where what is left over is small and exact.
  dearer = jnp.flip(jnp.cumsum(jnp.flip(probability, -1), axis=-1), -1)
  enough = (dearer[..., 1:] <= 1 - confidence) & (confidence < 1)
  last = jnp.ones((*enough.shape[:-1], 1), bool)
  return jnp.argmax(jnp.concatenate([enough, last], axis=-1), axis=-1)

"""How much attention visual tokens get, for who drops some of them.

Legend: B batch, T text, V visual.
"""

import jax
import jax.numpy as jnp

from visor_jax.models import attention_arrays
from visor_jax.models import layer_kinds
from visor_jax.models import layers
from visor_jax.models import positions


def rate(
  layer: layers.Layer,
  hidden: layer_kinds.HiddenStates,
  token_layout: positions.TokenLayout,
) -> jax.Array:
  """How much of the attention of some text a visual token gets.

  Of the last token of a conversation's last prompt, or where the token layout
  names raters the mean of theirs. Scores are computed of these queries alone.

  Args:
    layer: whose attention it is, with its weights.
    hidden: what flows into that layer.
    token_layout: where the tokens stand.

  Returns:
    float32 [B, V], averaged over heads.
  """
  text, visual = token_layout.text, token_layout.visual
  if token_layout.raters is None:
    who, queries = token_layout.prompt, token_layout.prompt_end
    same = who.segment[:, None] == who.segment[:, :, None]
    later = same & (who.place[:, None] > who.place[:, :, None])
    rates = ~later.any(axis=2)
  else:
    who, rates = text, token_layout.raters
    queries = jnp.broadcast_to(jnp.arange(rates.shape[1]), rates.shape)
  query, key = layer.query_key(
    jnp.concatenate([hidden.text, hidden.visual], axis=1),
    positions.join_positions(
      token_layout.text_position, token_layout.visual_position
    ),
    queries,
  )
  both = positions.join(text, visual)
  shares = attention_arrays.shares(query, key, who, both)
  of_visual = shares[:, :, hidden.text.shape[1] :]
  asks = who.segment[:, :, None] == visual.segment[:, None]
  asks &= rates[:, :, None]
  total = jnp.where(asks, of_visual, 0).sum(axis=1)
  return total / jnp.maximum(asks.sum(axis=1), 1)

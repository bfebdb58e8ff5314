"""How much attention visual tokens get, for who drops some of them.

Legend: B batch, V visual.
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
  """How much of a prompt's last token's attention a visual token gets.

  Of a conversation with several prompts the last counts. Scores are computed
  of these few queries alone.

  Args:
    layer: whose attention it is, with its weights.
    hidden: what flows into that layer.
    token_layout: where the tokens stand.

  Returns:
    float32 [B, V], averaged over heads.
  """
  query, key = layer.query_key(
    jnp.concatenate([hidden.text, hidden.visual], axis=1),
    positions.join_positions(
      token_layout.text_position, token_layout.visual_position
    ),
    token_layout.prompt_end,
  )
  both = positions.join(token_layout.text, token_layout.visual)
  shares = attention_arrays.shares(query, key, token_layout.prompt, both)
  of_visual = shares[:, :, hidden.text.shape[1] :]
  segment, place = token_layout.prompt
  same = segment[:, None] == segment[:, :, None]
  later = same & (place[:, None] > place[:, :, None])
  is_last = ~later.any(axis=2)
  visual_segment = token_layout.visual.segment
  asks = segment[:, :, None] == visual_segment[:, None]
  asks &= is_last[:, :, None]
  return jnp.max(jnp.where(asks, of_visual, 0), axis=1, initial=0)

"""What a method makes of one row whose slots are patches in order."""

import types

import numpy as np

from tests import rows
from visor_jax.models import positions
from visor_jax.reduction import grammar
from visor_jax.reduction import method


def one(text):
  return grammar.parse(text)[0]


def layout(segment, place):
  """Where visual tokens stand: text fills the gaps, and follows."""
  visual = positions.Slots(np.array([segment]), np.array([place]))
  text_place = sorted(set(range(max(place) + 2)) - set(place))
  return positions.token_layout(
    types.SimpleNamespace(
      text_segment=np.ones((1, len(text_place)), int),
      text_place=np.array([text_place]),
      visual_segment=visual.segment,
      visual_place=visual.place,
      prompt_segment=np.ones((1, 1), int),
      prompt_place=np.array([text_place[-1:]]),
    )
  )


def reduce(
  text,
  segment,
  place,
  attention=None,
  keys=None,
  grid=(2, 2),
  visual=None,
  gather_index=None,
  words=None,
  tiles=None,
):
  """Calls the hook before the decoder.

  Returns:
    the values that stay, and the slots they stand in; a slot's value is its
    number.
  """
  v = len(segment)
  tiles = tiles or -(-v // (grid[0] * grid[1]))
  patches = tiles * grid[0] * grid[1]

  def fill(x, shape):
    if x is None:
      return np.zeros(shape, np.float32)
    x = np.asarray(x, np.float32)[None]
    rest = patches - x.shape[1]
    return np.pad(x, [(0, 0), (0, rest)] + [(0, 0)] * (x.ndim - 2))

  if visual is None:
    visual = np.arange(v, dtype=np.float32)[:, None]
  source = np.arange(v) if gather_index is None else np.asarray(gather_index)
  # Positions stay what they were: here they are the numbers of the slots.
  before = layout(segment, list(place))._replace(
    visual_position=np.arange(v)[None]
  )

  def run(visual, attention, keys, index, weight):
    tokens = one(text).before_decoder(
      method.VisualTokens(
        visual, before, None if words is None else np.asarray(words)[None]
      ),
      method.Patches(index, weight, tiles, grid, attention, keys),
    )
    return tokens.visual, tokens.token_layout

  values, after = rows.jit(run)(
    np.asarray(visual, np.float32)[None],
    fill(attention, (1, patches)),
    fill(keys, (1, patches, 2)),
    source[None, :, None].astype(np.int32),
    np.ones((1, v, 1), np.float32),
  )
  assert after.visual.place.shape[1] == one(text).slots(v, tiles, grid)
  valid = np.asarray(after.visual.segment[0]) > 0
  slots = np.asarray(after.visual_position[0])
  return np.asarray(values[0])[valid], slots[valid].tolist()

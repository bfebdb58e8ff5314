"""Places and positions of tokens, drawn as figures."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np

from tests import rows
from visor_jax.models import positions
from visor_jax.spec import sizes


def test_geometry():
  """Positions count from a segment's start, over text and image together."""
  batch = rows.batch(('tvvtp', 'vta'), shape=rows.Shape(6, 4, 2, 1))
  at = positions.token_layout(batch)

  def line(x):
    return ' '.join(map(str, np.asarray(x)[0]))

  assert line(batch.text_place) == '0 3 4 6 7 8'
  assert line(batch.visual_place) == '1 2 5 9'
  assert line(at.merged.segment) == '1 1 1 1 1 2 2 2 0 0'
  assert line(at.merged.place) == '0 1 2 3 4 5 6 7 8 9'
  assert line(at.merged_position[:, :8]) == '0 1 2 3 4 0 1 2'
  assert line(at.text_position[:, :5]) == '0 3 4 1 2'
  assert line(at.visual_position[:, :3]) == '1 2 0'
  # Slots are text first, then visual: place 1 is the first visual slot, 6.
  assert line(at.order) == '0 6 7 1 2 8 3 4 5 9'
  assert line(np.take_along_axis(at.order, at.place, 1)) == (
    '0 1 2 3 4 5 6 7 8 9'
  )


def images_in_text(rng):
  """A row of conversations, tokens and images (height, width), in order."""
  return [
    [
      tuple(map(int, rng.integers(1, 5, 2))) if rng.random() < 0.4 else 't'
      for _ in range(rng.integers(1, 7))
    ]
    for _ in range(3)
  ]


def test_an_image_has_rows_and_columns_and_text_goes_on_behind_it():
  """Counted one by one; of images at either end, side by side, and alone."""
  rng = np.random.default_rng(0)
  for _ in range(5):
    text, visual, grid, want = [], [], [], []
    for number, conversation in enumerate(images_in_text(rng), 1):
      count = 0
      for token in conversation:
        if token == 't':
          text.append((number, len(want)))
          want.append((count,) * 3)
          count += 1
          continue
        height, width = token
        for y, x in np.ndindex(height, width):
          visual.append((number, len(want)))
          grid.append((y, x))
          want.append((count, count + y, count + x))
        count += max(height, width)
    text.append((0, len(want)))  # padding, behind which nobody counts
    visual.append((0, len(want) + 1))
    row = np.zeros((1, 1), np.int32)
    batch = types.SimpleNamespace(
      tokens=np.zeros((1, len(text))),
      text_segment=np.array([text])[..., 0],
      text_place=np.array([text])[..., 1],
      visual_segment=np.array([visual])[..., 0],
      visual_place=np.array([visual])[..., 1],
      tile_grid=np.array([[*grid, (0, 0)]]),
      gather_index=np.arange(len(visual))[None, :, None],
      prompt_segment=row,
      prompt_place=row,
    )
    at = positions.token_layout(batch, axes=3)
    assert at.merged_position[0, : len(want)].tolist() == [*map(list, want)]
    assert at.text_position[0, :-1].tolist() == [
      want[place][0] for _, place in text[:-1]
    ]
    assert at.visual_position[0, :-1].tolist() == [
      list(want[place]) for _, place in visual[:-1]
    ]
    # Tokens that are left stand where they stood.
    left = np.arange(0, len(visual) - 1, 2)[None]
    fewer = positions.keep_visual(at, left, np.ones(left.shape, bool))
    kept = sorted(
      [place for _, place in text[:-1]] + [visual[i][1] for i in left[0]]
    )
    assert fewer.merged_position[0, : len(kept)].tolist() == [
      list(want[place]) for place in kept
    ]


def test_each_frequency_turns_by_one_of_three_positions():
  size = sizes.Language(8, 1, 1, 1, 12, 8, rope_sections=(1, 2, 3))
  plain = dataclasses.replace(size, rope_sections=())
  x = jax.random.normal(jax.random.key(0), (1, 4, 2, 12))
  three = jax.random.randint(jax.random.key(1), (1, 4, 3), 0, 9)
  got = np.asarray(positions.rope(x, three, size)).reshape(4, 2, 2, 6)
  by_axis = [
    np.asarray(positions.rope(x, three[..., axis], plain)).reshape(4, 2, 2, 6)
    for axis in range(3)
  ]
  for frequency, axis in enumerate((0, 1, 1, 2, 2, 2)):
    want = by_axis[axis][..., frequency]
    np.testing.assert_array_equal(got[..., frequency], want)
  # Of a text token one number says all three.
  thrice = jnp.broadcast_to(three[..., :1], three.shape)
  np.testing.assert_array_equal(
    positions.rope(x, thrice, size), positions.rope(x, three[..., 0], size)
  )


def test_permute_is_a_gather_with_a_gather_for_its_gradient():
  index = jax.random.permutation(jax.random.key(0), 7)[None]
  x = jax.random.normal(jax.random.key(1), (1, 7, 3))
  weight = jnp.arange(21.0).reshape(1, 7, 3)

  def f(permute):
    return jax.grad(lambda x: jnp.sum(weight * permute(x)))(x)

  inverse = jnp.argsort(index, axis=1)
  got = f(lambda x: positions.permute(x, index, inverse))
  assert np.array_equal(got, f(lambda x: x[:, index[0]]))
  assert not np.array_equal(index, inverse)

"""Rows drawn in the order of their places, so that a packing can be read."""

import dataclasses

import numpy as np
import pytest

from visor_jax.data.processing import packing
from visor_jax.data.processing import processed
from visor_jax.data.sources import records
from visor_jax.data.suites import vocabulary
from visor_jax.spec import batch as batch_lib

WORDS = vocabulary.Vocabulary(tuple('abcd') + ('yes',))
SHAPE = batch_lib.RowShape(
  text=14, visual=9, tiles=4, prompts=4, tile=(2, 4), patches=2
)


def segment(*questions, tiles=1, gather_index=None, first=1):
  """A conversation in which every answer is yes; tile i is full of first+i."""
  images = (
    np.stack([np.full((2, 4, 3), first + i, np.uint8) for i in range(tiles)])
    if tiles
    else (np.zeros((0, 2, 4, 3), np.uint8))
  )
  talk = WORDS.conversation(records.Turn(q, 'yes', q) for q in questions)
  packed = packing.segment_of_images(
    talk,
    [images],
    [processed.PatchPlan(SHAPE.patches, tiles)],
    SHAPE.patches,
  )
  if gather_index is not None:
    packed = dataclasses.replace(
      packed,
      gather_index=np.array(gather_index, np.int32)[:, None],
      gather_weight=np.arange(1.0, len(gather_index) + 1, dtype=np.float32)[
        :, None
      ],
      before=np.ones(len(gather_index), int),
    )
  return packed


def draw(row):
  """Words and v, in order of their places, with the segment; . is padding."""
  slots = [None] * (SHAPE.text + SHAPE.visual)
  for i, place in enumerate(row['text_place']):
    assert slots[place] is None, f'two slots at place {place}'
    number = row['text_segment'][i]
    word = WORDS.words[row['tokens'][i]]
    word = word.upper() if row['answer'][i] else word
    slots[place] = f'{word}{number}' if number else '.'
  for i, place in enumerate(row['visual_place']):
    assert slots[place] is None, f'two slots at place {place}'
    number = row['visual_segment'][i]
    slots[place] = f'v{number}' if number else ','
  return ' '.join(slots)


def test_a_row_of_one_conversation():
  """The image stands behind the first `user`; padding is last, text first."""
  row = packing.row([segment('a', 'b c')], SHAPE)
  assert draw(row) == (
    'user1 v1 v1 a1 YES1 END1 user1 b1 c1 YES1 END1' + ' .' * 5 + ' ,' * 7
  )
  assert row['prompt_place'].tolist() == [3, 8, 0, 0]
  assert row['prompt_segment'].tolist() == [1, 1, 0, 0]


def test_images_stand_where_they_belong():
  """Two of them side by side, one later, one behind everything."""
  packed = segment('a', 'b', gather_index=range(7))
  packed = dataclasses.replace(packed, before=np.array([1, 1, 1, 4, 4, 8, 8]))
  row = packing.row([packed], SHAPE)
  assert draw(row) == (
    'user1 v1 v1 v1 a1 YES1 END1 v1 v1 user1 b1 YES1 END1 v1 v1'
    + ' .' * 6
    + ' ,' * 2
  )
  assert row['prompt_place'].tolist() == [4, 10, 0, 0]


def test_a_row_of_two_conversations():
  """The second begins where the first ends, in both streams."""
  row = packing.row([segment('a', tiles=2), segment('b', first=7)], SHAPE)
  assert draw(row) == (
    'user1 v1 v1 v1 v1 a1 YES1 END1 user2 v2 v2 b2 YES2 END2'
    + ' .' * 6
    + ' ,' * 3
  )
  assert row['prompt_place'].tolist() == [5, 11, 0, 0]
  assert row['prompt_segment'].tolist() == [1, 2, 0, 0]
  assert row['tiles'][:, 0, 0, 0].tolist() == [1, 2, 7, 0]
  assert row['gather_index'][:, 0].tolist() == [0, 1, 2, 3, 4, 5, 0, 0, 0]
  assert row['gather_weight'][:, 0].tolist() == [1.0] * 6 + [0.0] * 3


def test_a_newline_is_one_index_wherever_the_tiles_lie():
  """i * P of a segment means the newline, and must not hit another's patch."""
  row = packing.row(
    [
      segment('a', gather_index=[0, 2, 1, 2]),
      segment('b', tiles=2, gather_index=[3, 4, 0]),
    ],
    SHAPE,
  )
  assert row['gather_index'][:, 0].tolist() == [0, 8, 1, 8, 5, 8, 2, 0, 0]
  assert row['gather_weight'][:, 0].tolist() == [1, 2, 3, 4, 1, 2, 3, 0, 0]


@pytest.mark.parametrize(
  'segments',
  [
    [],
    [segment('a', tiles=0)],
    [segment('a')],
    [segment('a'), segment('b')],
    [segment('a', tiles=0), segment('b', tiles=4)],
    [segment('a b'), segment('c'), segment('d', tiles=2)],
  ],
)
def test_a_row_keeps_the_contract_of_batch(segments):
  """Every number is the place of one slot, padding last, streams in order."""
  row = packing.row(segments, SHAPE)
  assert row.keys() == set(batch_lib.NAMES)
  places = np.concatenate([row['text_place'], row['visual_place']])
  number = np.concatenate([row['text_segment'], row['visual_segment']])
  assert sorted(places) == list(range(SHAPE.text + SHAPE.visual))
  assert (np.diff(row['text_place']) > 0).all()
  assert (np.diff(row['visual_place']) > 0).all()
  order = number[np.argsort(places)]
  real = order[order > 0]
  assert (np.diff(real) >= 0).all() and not order[len(real) :].any()
  assert not row['answer'][row['text_segment'] == 0].any()
  assert not row['gather_weight'][row['visual_segment'] == 0].any()
  for name, x in packing._empty(SHAPE).items():
    assert row[name].shape == x.shape and row[name].dtype == x.dtype


@pytest.mark.parametrize(
  'segments,message',
  [
    ([segment('a b c d', 'a'), segment('b')], '14 text slots.* need 15'),
    (
      [segment('a', tiles=0, gather_index=[0] * 10)],
      '9 visual slots.* need 10',
    ),
    (
      [
        segment('a', tiles=3, gather_index=[0]),
        segment('b', tiles=2, gather_index=[0]),
      ],
      '4 tiles slots.* need 5',
    ),
    ([segment('a', 'b', 'c', 'd', 'a')], '14 text slots.* need 20'),
  ],
)
def test_what_does_not_fit_is_an_error(segments, message):
  """Cutting a row would train on a question about a missing image."""
  with pytest.raises(ValueError, match=message):
    packing.row(segments, SHAPE)


def test_more_prompts_than_slots_is_an_error():
  shape = dataclasses.replace(SHAPE, prompts=1)
  with pytest.raises(ValueError, match='1 prompts slots.* need 2'):
    packing.row([segment('a', 'b')], shape)


def test_stack_keeps_the_order_of_rows():
  one, two = (packing.row([segment(q)], SHAPE) for q in 'ab')
  batch = packing.stack([one, two])
  for name, x in batch.fields().items():
    np.testing.assert_array_equal(x[0], one[name])
    np.testing.assert_array_equal(x[1], two[name])


SEGMENTS = [
  segment('a', gather_index=[0, 2, 1]),
  segment('b c', 'a', tiles=2),
  segment('a', tiles=0),
]


@pytest.mark.parametrize(
  'talks',
  [SEGMENTS[:1], SEGMENTS[1:2], SEGMENTS[2:], [SEGMENTS[0], SEGMENTS[2]]],
)
def test_a_halved_row_is_one_that_was_packed_into_fewer_slots(talks):
  few = dataclasses.replace(SHAPE, text=14, visual=9, tiles=2)
  many = dataclasses.replace(SHAPE, text=2 * 14, visual=2 * 9 + 1, tiles=5)
  wide, narrow = (
    packing.stack(
      [packing.row(segments, shape) for segments in (talks, SEGMENTS[:1])]
    )
    for shape in (many, few)
  )
  assert packing.halvings(wide, SHAPE.patches) >= 1
  halved = packing.halved(wide, 1, SHAPE.patches)
  for name, want in narrow.fields().items():
    got = getattr(halved, name)
    assert got.dtype == want.dtype, name
    np.testing.assert_array_equal(got, want, name)
  same = packing.halved(wide, 0, SHAPE.patches)
  assert all(
    np.array_equal(a, b)
    for a, b in zip(same.fields().values(), wide.fields().values())
  )


@pytest.mark.parametrize(
  'shape,times',
  [
    (dict(text=32, visual=24, tiles=8), 3),
    (dict(text=31), 2),
    (dict(visual=23), 2),
    (dict(tiles=7), 3),
    (dict(text=7), 0),
    (dict(text=400, visual=300, tiles=80), packing.HALVINGS),
  ],
)
def test_slots_are_halved_as_long_as_they_hold_every_row(shape, times):
  """Needed are 4 text slots, 3 visual ones and a tile."""
  shape = dict(text=32, visual=24, tiles=8) | shape
  rows = [
    packing.row([s], dataclasses.replace(SHAPE, **shape))
    for s in (SEGMENTS[0], SEGMENTS[2])
  ]
  assert packing.halvings(packing.stack(rows), SHAPE.patches) == times

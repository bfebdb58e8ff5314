"""Pixels of pages: every line in its tile, and nothing of it in another."""

import dataclasses

import numpy as np
import pytest

from visor_jax.data.suites.pages import drawing
from visor_jax.data.suites.pages import page as page_lib
from visor_jax.data.suites.pages import typefaces

SCALES = list(page_lib.SCALES.values())
PAGE = page_lib.Page(
  kind='menu',
  items=tuple(
    page_lib.Item(key, (number,))
    for key, number in zip(('jam', 'plum', 'pear', 'figs'), (42, 7, 98, 60))
  ),
  highest=99,
  written=True,
  upright=True,
  stained=False,
  background='white',
  ink='black',
  typeface='sans',
)


def draw(page, scale=SCALES[0], seed=0):
  return drawing.draw(np.random.default_rng(seed), page, scale)


def changed(page, item, *, line=1):
  items = list(page.items)
  items[line] = dataclasses.replace(items[line], **item)
  return dataclasses.replace(page, items=tuple(items))


@pytest.mark.parametrize('scale', SCALES)
@pytest.mark.parametrize('typeface', typefaces.FILES)
def test_text_stays_within_its_line(scale, typeface):
  """What stands on the seam of two rows of patches is not read."""
  for seed in range(3):
    tiles = draw(dataclasses.replace(PAGE, typeface=typeface), scale, seed)
    lines, line, width = scale.lines, scale.line, scale.width
    assert tiles.shape == (lines, line, width, 3) and tiles.dtype == np.uint8
    dark = (tiles < 160).any(axis=(2, 3))
    assert dark[:4].any(axis=1).all() and not dark[4:].any()
    assert not dark[:, [0, -1]].any()
    height = dark[:4].sum(axis=1)  # with descenders
    assert (8 * line / 16 <= height).all() and (height <= 14 * line / 16).all()


@pytest.mark.parametrize('kind', ['receipt', 'form', 'bars', 'menu'])
@pytest.mark.parametrize('item', [dict(numbers=(88,)), dict(key='tofu')])
def test_a_line_is_seen_in_its_own_tile_alone(kind, item):
  page = dataclasses.replace(PAGE, kind=kind)
  differs = draw(page) != draw(changed(page, item))
  assert differs.any(axis=(1, 2, 3)).tolist() == [False, True, *[False] * 6]


@pytest.mark.parametrize('kind', ['bars', 'curve'])
def test_a_number_that_is_not_written_is_drawn(kind):
  page = dataclasses.replace(PAGE, kind=kind, written=False)
  unlike = draw(page) != draw(changed(page, dict(numbers=(88,))))
  assert unlike[1].any() and not unlike[1, :, :60].any()


def test_a_larger_number_has_a_longer_bar():
  page = dataclasses.replace(PAGE, kind='bars', written=False)
  bars = (draw(page)[:4, 8] < 200).all(axis=-1).sum(axis=-1)
  assert np.argsort(bars).tolist() == [1, 0, 3, 2]


def test_a_reference_hides_the_number():
  marked = changed(PAGE, dict(see=1, numbers=(42,)))
  np.testing.assert_array_equal(
    draw(marked), draw(changed(marked, dict(numbers=(13,))))
  )


def test_a_page_on_its_side_is_the_same_page_turned():
  tiles = draw(PAGE)
  turned = draw(dataclasses.replace(PAGE, upright=False))
  page, side = (x.reshape(128, 128, 3) for x in (tiles, turned))
  assert any(np.array_equal(side, np.rot90(page, k)) for k in (1, 3))


@pytest.mark.parametrize('kind', [*page_lib.KINDS, 'menu'])
def test_every_kind_looks_different(kind):
  columns = 2 if kind == 'table' else 1
  items = tuple(
    dataclasses.replace(item, numbers=item.numbers * columns)
    for item in PAGE.items
  )
  page = dataclasses.replace(PAGE, kind=kind, items=items)
  bare = draw(dataclasses.replace(PAGE, kind='form'))
  assert (draw(page) != bare).any() == (kind != 'form')

"""What stands on pages: splits, held-out looks, and how hard they are."""

import collections

import numpy as np
import pytest

from visor_jax.data.suites.pages import page as page_lib
from visor_jax.data.suites.pages import typefaces

SMALL = page_lib.SCALES['small']


def pages(count, test=False, unseen=''):
  rng = np.random.default_rng(0)
  return [page_lib.compose(rng, SMALL, test, unseen) for _ in range(count)]


def lines(drawn):
  return {
    (item.key, number)
    for page in drawn
    for item in page.items
    for number in item.numbers
    if not item.see
  }


def test_no_line_is_in_both_splits():
  """A test line that was learned could be remembered instead of read."""
  trained, tested = lines(pages(400)), lines(pages(400, test=True))
  assert not trained & tested and len(tested) > 300
  for key in page_lib.KEYS:
    both = [page_lib.numbers(key, 99, 1, test) for test in (False, True)]
    assert sorted(sum(both, ())) == list(range(1, 100))
    assert 8 <= len(both[1]) <= 35


@pytest.mark.parametrize('test', [False, True])
def test_a_held_out_look_is_met_only_where_it_is_asked_for(test):
  usual = pages(300, test)
  assert {page.kind for page in usual} == set(page_lib.KINDS)
  assert {page.typeface for page in usual} == set(typefaces.TRAINED)
  assert {p.typeface for p in pages(20, test, 'typeface')} == {'stix'}
  assert {p.kind for p in pages(20, test, 'kind')} == {'menu'}


def test_the_same_question_is_easy_on_one_page_and_hard_on_another():
  drawn = pages(600)
  counts = collections.Counter(len(page.items) for page in drawn)
  assert sorted(counts) == list(range(2, SMALL.lines + 1))
  assert min(counts.values()) > 40
  refers = [any(item.see for item in page.items) for page in drawn]
  assert 0.3 < np.mean(refers) < 0.5
  assert {page.columns for page in drawn} == {1, 2}
  assert {page.highest for page in drawn} == {9, 99}


def test_a_line_that_refers_to_another_has_its_numbers():
  """Which stand there: no reference leads to a reference."""
  for page in pages(200):
    assert not all(item.see for item in page.items)
    for i, item in enumerate(page.items):
      there = page.items[page.written_at(i)]
      assert not there.see and there.numbers == item.numbers
      assert (there is item) == (item.see == 0)


@pytest.mark.parametrize('part', [1, 2, 4, 8])
def test_a_part_of_a_page_to_learn_from_refers_to_no_other(part):
  """Its number would stand on a line that nobody sees."""
  rng = np.random.default_rng(0)
  drawn = [page_lib.full(rng, SMALL, False, part) for _ in range(30)]
  for page in drawn:
    assert page.upright and not page.stained
    assert len(page.items) == SMALL.lines
    for first in range(0, SMALL.lines, part):
      cut = page.items[first : first + part]
      assert all(0 <= item.see <= part for item in cut)
      for item in cut:
        there = cut[item.see - 1] if item.see else item
        assert not there.see and there.numbers == item.numbers
  assert (part > 1) == any(item.see for page in drawn for item in page.items)
  plain = [page_lib.full(rng, SMALL, False, part, False) for _ in range(20)]
  assert not {page.kind for page in plain} & {*page_lib.CHARTS}


def test_an_unknown_scale_is_named_with_those_there_are():
  with pytest.raises(ValueError, match='"tall"; expected one of small, large'):
    page_lib.scale('tall')

"""What the words that are like the image look at, and averages of the rest."""

import fractions

import numpy as np
import pytest

from tests import rows
from tests.reduction import one_row
from visor_jax.reduction import grammar
from visor_jax.reduction import method


def cluster_means(x, count):
  """As the authors' code says it, of one image; for its noise, the first."""
  apart = np.linalg.norm(x[:, None] - x[None], axis=2) / x.shape[1] ** 0.5
  nearest = np.sort(apart, axis=1)[:, :count]
  density = np.exp(-(nearest**2).mean(axis=1))
  density -= np.arange(len(x)) * 1e-7
  masked = np.where(density[None] > density[:, None], apart, apart.max())
  score = masked.min(axis=1) * density
  centres = np.argsort(-score, kind='stable')[:count]
  home = centres[np.argmin(apart[:, centres], axis=1)]
  home[centres] = centres
  return {c: x[home == c].mean(axis=0) for c in sorted(centres)}


def drop(visual, segment, place, rating, share):
  """What is behind layer 3 of tokens rated so, and where it stands."""
  before = one_row.layout(segment, place)._replace(
    visual_position=np.arange(len(segment))[None]
  )
  sparse = grammar.single(f'sparsevlm:3:{share}')

  def run(visual, rating):
    tokens = method.VisualTokens(visual, before)
    tokens = sparse.between_layers(4, tokens, {3: rating}.get)
    return tokens.visual, tokens.token_layout

  values, after = rows.jit(run)(np.float32(visual)[None], rating[None])
  valid = np.asarray(after.visual.segment[0]) > 0
  at = np.asarray(after.visual_position[0])[valid]
  return np.asarray(values[0])[valid], at.tolist()


@pytest.mark.parametrize('stay', [6, 40, 133])
def test_it_is_what_the_papers_code_says(stay):
  rng = np.random.default_rng(stay)
  visual, rating = rng.normal(size=(200, 6)), rng.random(200)
  values, at = drop(visual, [1] * 200, range(200), rating, f'{stay}/200')
  order = np.argsort(-rating)
  rest = np.sort(order[stay : stay + (200 - stay) * 3 // 10])
  means = cluster_means(visual[rest], (200 - stay) * 3 // 100)
  want = {i: visual[i] for i in order[:stay]}
  want |= {rest[i]: mean for i, mean in means.items()}
  assert at == sorted(want) and len(means) >= 2
  np.testing.assert_allclose(values, [want[i] for i in at], atol=1e-5)


def test_a_conversation_does_not_hear_of_another():
  rng = np.random.default_rng(0)
  visual, rating = rng.normal(size=(190, 6)), rng.random(190)
  segment = [1] * 100 + [2] * 81 + [0] * 9
  both, at = drop(visual, segment, range(190), rating, '1/3')
  for first, last in ((0, 100), (100, 181)):
    part = slice(first, last)
    alone, there = drop(
      visual[part], segment[part], range(last - first), rating[part], '1/3'
    )
    mine = [i for i, slot in enumerate(at) if first <= slot < last]
    assert [at[i] - first for i in mine] == there
    np.testing.assert_allclose(both[mine], alone, atol=1e-5)


def test_few_tokens_leave_no_average():
  """And lose none of those that stay, beside others or not."""
  rng = np.random.default_rng(2)
  visual, rating = rng.normal(size=(130, 6)), rng.random(130)
  segment = [1] * 30 + [2] * 100
  values, at = drop(visual, segment, range(130), rating, '1/2')
  best = np.sort(np.argsort(-rating[:30])[:15]).tolist()
  assert [i for i in at if i < 30] == best
  np.testing.assert_array_equal(values[:15], np.float32(visual[best]))
  assert len(at) == 15 + 50 + 1


def test_words_that_are_like_the_image_rate():
  """As the authors choose them: behind the image, up to the prompt's end."""
  rng = np.random.default_rng(1)
  visual, words = rng.normal(size=(9, 8)), rng.normal(size=(6, 8))
  layout = one_row.layout([1] * 9, range(1, 10))  # one word before it
  layout = layout._replace(
    text=layout.text._replace(
      segment=np.ones((1, 6), int), place=np.array([[0, *range(10, 15)]])
    ),
    prompt=layout.prompt._replace(place=np.array([[13]])),
  )
  tokens = method.VisualTokens(
    np.float32(visual)[None], layout, np.float32(words)[None]
  )
  marked = grammar.single('sparsevlm-64').before_decoder(tokens, None)
  products = np.exp(visual @ words[1:5].T)
  like = (products / products.sum(axis=1, keepdims=True)).mean(axis=0)
  want = [False, *(like > like.mean()), False]
  assert marked.token_layout.raters[0].tolist() == want
  assert any(want) and not all(want[1:5])
  assert marked.visual is tokens.visual


def test_what_is_written():
  sparse = grammar.single('sparsevlm-64')
  assert sparse.shares[1:] == (
    fractions.Fraction(10, 27),
    fractions.Fraction(17, 31),
  )
  assert grammar.single(str(sparse)) == sparse
  assert sparse.layers(24) == (2, 3, 6, 7, 15, 16)
  size = method.Row(rows.tiny(rows.plans.visor(24)).size, 576, 10, 1)
  assert sparse.tokens_of_layer(size) == (
    [576] * 3 + [81] * 4 + [31] * 9 + [17] * 8
  )
  with pytest.raises(ValueError, match='2 layers and 1 shares'):
    grammar.single('sparsevlm:0,1:0.5')
  with pytest.raises(ValueError, match='behind layers 0 to 14'):
    sparse.layers(16)

"""Different tokens that the words of the question are like."""

import numpy as np
import pytest

from tests.reduction import one_row


def published(visual, text, count):
  """As the paper's code says it, one token at a time, of one image."""
  unit = visual / np.linalg.norm(visual, axis=1, keepdims=True)
  words = text / np.linalg.norm(text, axis=1, keepdims=True)
  relevance = (unit @ words.T).mean(axis=1)
  relevance -= relevance.min()
  relevance = (relevance + 1e-6) / relevance.max()
  kernel = relevance[:, None] * (unit @ unit.T) * relevance
  left, taken, chosen = np.diagonal(kernel).copy(), [], []
  for _ in range(count):
    best = int(np.argmax(left))
    new = kernel[best] - sum(t[best] * t for t in taken)
    taken.append(new / np.sqrt(left[best]))
    left -= taken[-1] ** 2
    left[best] = -np.inf
    chosen.append(best)
  return sorted(chosen)


@pytest.mark.parametrize('share,count', [('1/24', 1), ('1/4', 6), ('5/8', 15)])
def test_it_is_what_the_papers_code_says(share, count):
  rng = np.random.default_rng(0)
  visual, text = rng.normal(size=(24, 40)), rng.normal(size=(2, 40))
  # A word before the image, and the last one behind it.
  values, at = one_row.reduce(
    f'cdpruner:{share}', [1] * 24, range(1, 25), visual=visual, words=text
  )
  assert at == published(visual, text, count)
  np.testing.assert_allclose(values, visual[at], atol=1e-6)


def test_another_question_keeps_other_tokens_of_each_image():
  rng = np.random.default_rng(1)
  visual = rng.normal(size=(20, 40))
  places = [*range(8), *range(9, 21)]  # text between two images
  for words in rng.normal(size=(2, 2, 40)):
    _, at = one_row.reduce(
      'cdpruner:1/2', [1] * 20, places, visual=visual, words=words
    )
    assert at == published(visual[:8], words, 4) + [
      8 + i for i in published(visual[8:], words, 6)
    ]

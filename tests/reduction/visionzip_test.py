"""Dominant tokens, and averages of the others."""

import numpy as np

from tests.reduction import one_row


def test_visionzip_keeps_the_seen_and_averages_the_rest():
  """Of 8 tokens 4: three seen most, and one average of the others."""
  keys = np.random.default_rng(0).normal(size=(8, 2))
  seen = [0.1, 0.9, 0.3, 0.2, 0.8, 0.1, 0.7, 0.0]
  values, at = one_row.reduce('visionzip:1/2', [1] * 8, range(8), seen, keys)
  assert at == [0, 1, 4, 6]
  np.testing.assert_allclose(values[:, 0], [(0 + 2 + 3 + 5 + 7) / 5, 1, 4, 6])


def test_visionzip_merges_with_what_is_alike():
  """Of 16 tokens 12: ten dominant, two averages that start 3 apart."""
  keys = np.array([[1.0, 0]] * 16)
  keys[[13, 14]] = 0, 1
  seen = np.where(np.arange(16) < 10, 1 - np.arange(16) / 100, 0)
  values, at = one_row.reduce('visionzip:3/4', [1] * 16, range(16), seen, keys)
  assert at == [*range(10), 10, 13]
  np.testing.assert_allclose(values[-2:, 0], [(10 + 11 + 12 + 15) / 4, 13.5])

"""Neighbours become one token."""

import numpy as np

from tests.reduction import one_row


def test_neighbours_are_packed_in_their_image():
  """Two images with text between, then padding: 5 tokens are 2 packs."""
  values, at = one_row.reduce(
    'pack:2', [1] * 9 + [0], [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]
  )
  assert at == [0, 2, 5, 7]
  np.testing.assert_allclose(values[:, 0], [0.5, 3, 5.5, 7.5])

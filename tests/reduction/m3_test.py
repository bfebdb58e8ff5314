"""Windows of patches become one token."""

import numpy as np

from tests.reduction import one_row


def test_windows_of_a_tile_are_pooled():
  """Tiles of 2 x 3 patches in windows of 2: two and one column; no newline."""
  source = [0, 1, 2, 12, 3, 4, 5, 6, 7, 9]  # 12 is a newline, 8 was cut off
  values, at = one_row.reduce(
    'm3:2', [1] * 10, range(10), grid=(2, 3), gather_index=source
  )
  assert at == [0, 2, 7]
  np.testing.assert_allclose(
    values[:, 0], [(0 + 1 + 4 + 5) / 4, (2 + 6) / 2, (7 + 8 + 9) / 3]
  )


def test_a_window_of_the_whole_tile_leaves_one_token():
  values, at = one_row.reduce('m3:24', [1] * 8 + [0], range(9))
  assert at == [0, 4]
  np.testing.assert_allclose(values[:, 0], [1.5, 5.5])

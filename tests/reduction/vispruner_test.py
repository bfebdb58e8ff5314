"""Important tokens, and different ones."""

import numpy as np

from tests.reduction import one_row


def test_vispruner_keeps_the_seen_and_the_different():
  """Of six tokens four: two seen, and of four the two that differ.

  20 degrees go, being next to 21; then these, as nearer to 60 than 150 are.
  """
  angle = np.array([0.0, 10, 20, 21, 60, 150]) * np.pi / 180
  visual = np.stack([np.cos(angle), np.sin(angle)], axis=1)
  seen = [0.9, 0.8, 0.1, 0.2, 0.1, 0.1]
  values, at = one_row.reduce(
    'vispruner:2/3', [1] * 6, range(6), seen, visual=visual
  )
  assert at == [0, 1, 4, 5]
  np.testing.assert_allclose(values, visual[[0, 1, 4, 5]], atol=1e-6)

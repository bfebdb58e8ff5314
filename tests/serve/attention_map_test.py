"""Where the patches of a picture stand among visual tokens."""

import numpy as np
import pytest

from visor_jax.serve import attention_map


@pytest.mark.parametrize(
  'patch,unused,images,slots',
  [
    # The whole picture, then two parts of it, a newline behind each row.
    ([*range(6), 6, 7, 8, 99, 12, 13, 14, 99], 2, 1, [[0, 1, 2], [3, 4, 5]]),
    # Rows of a picture, a tile each.
    ([*range(12)], 1, 1, np.arange(12).reshape(4, 3)),
    # Two pictures: the first.
    ([*range(12)], 0, 2, [[0, 1, 2], [3, 4, 5]]),
    # None.
    ([], 4, 0, None),
    ([0, 1, 2], 0, 2, None),
  ],
)
def test_patches_of_a_picture(patch, unused, images, slots):
  used = np.arange(len(patch) + unused) < len(patch)
  patch = np.array([*patch, *[0] * unused], int)
  stand = attention_map.slots_of_patches(used, patch, (2, 3), images)
  if slots is None:
    assert stand is None
  else:
    np.testing.assert_array_equal(stand, slots)


def test_a_patch_a_tile_shows_nothing():
  one = np.ones(4, bool), np.arange(4)
  assert attention_map.slots_of_patches(*one, (1, 1), 1) is None

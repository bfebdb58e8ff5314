"""What a Batch says of its images."""

import numpy as np

from tests import rows
from visor_jax.spec import batch as batch_lib


def test_tiles_of_an_image_are_counted_together_and_others_alone():
  """An image begins at 0, 0, whatever order its other tiles have."""
  grid = [*np.ndindex(2, 3), *np.ndindex(1, 1), (0, 0), (1, 0), (0, 1)]
  assert batch_lib.image_tiles(np.array(grid)) == (6, 1, 3)
  assert batch_lib.image_tiles(np.zeros((4, 2), int)) == (1,) * 4
  assert batch_lib.image_tiles(np.zeros((0, 2), int)) == ()


def test_padding_is_no_image():
  batch = rows.batch(('vvt', 'vt'), ('tp',), shape=rows.Shape(6, 4, 3, 1))
  patches = 100  # as many as the newline of these rows is behind
  assert batch.images(patches) == [
    (1,) * n for n in batch.used(patches).tolist()
  ]

"""Files of features: on a disk and in a bucket."""

import jax
import numpy as np

from tests import buckets
from visor_jax.runtime import paths
from visor_jax.training import feature_table

root = buckets.root
FEATURES = np.arange(7 * 2 * 3, dtype=np.float32).reshape(7, 2, 3)


def make(folder):
  shapes = jax.ShapeDtypeStruct((1, 2, 3), np.float32)
  numbers = (3, 4, 8, 9, 11, 12, 20)
  return feature_table.FeatureTable(folder, numbers, 4, shapes)


def check(folder):
  table = make(folder)
  assert table.missing() == [0, 1] and table.bytes == FEATURES.nbytes
  table.write(1, FEATURES[[4, 5, 6, 6]])  # the last row fills up
  assert table.missing() == [0]
  table.write(0, FEATURES[:4])
  assert table.missing() == []
  back = table.stack([table.read(number) for number in (20, 3, 9)])
  np.testing.assert_array_equal(back, FEATURES[[6, 0, 3]])
  paths.remove_folder(folder)
  assert table.missing() == [0, 1]


def test_what_is_written_is_read(tmp_path):
  check(tmp_path / 'features')


def test_what_is_written_to_a_bucket_is_read(root, tmp_path, monkeypatch):
  monkeypatch.setenv('VISOR_CACHE', str(tmp_path))
  check(paths.parse(f'{root}/features'))

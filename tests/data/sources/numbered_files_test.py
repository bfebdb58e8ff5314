"""A set of files that lost one is no set, as after half a download."""

import pathlib

import pytest

from visor_jax.data.sources import numbered_files


def paths(*names):
  return [pathlib.Path('data') / name for name in names]


@pytest.mark.parametrize(
  'names',
  [
    [],
    ['a.parquet', 'b.parquet'],
    ['train-00000-of-00001.parquet'],
    ['train-00001-of-00002.parquet', 'train-00000-of-00002.parquet'],
    ['train-00000-of-00001-3f2a.parquet', 'test-00000-of-00001-77.parquet'],
  ],
)
def test_what_is_all_there_passes(names):
  numbered_files.check(paths(*names))


@pytest.mark.parametrize(
  'names,why',
  [
    (
      ['train-00001-of-00002.parquet'],
      r'data has 1 of the 2 files train-\*-of-00002; missing: 0$',
    ),
    (
      ['train-0-of-1', 'test-00000-of-00003-ab', 'test-00002-of-00003-cd'],
      r'2 of the 3 files test-\*-of-00003; missing: 1$',
    ),
    (['a-00000-of-01000'], 'missing: 1, 2, 3, 4, 5, 6, 7, 8, 9, ...$'),
  ],
)
def test_what_is_missing_is_named(names, why):
  with pytest.raises(ValueError, match=why):
    numbered_files.check(paths(*names))

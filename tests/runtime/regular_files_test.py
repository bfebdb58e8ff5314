"""Files of strangers: read in bounds, or named."""

import os
import time

import pytest

from visor_jax.runtime import regular_files


def test_a_file_is_read_whole(tmp_path):
  path = tmp_path / 'a'
  path.write_bytes(b'abc')
  assert regular_files.read(path) == regular_files.read(path, 3) == b'abc'
  with pytest.raises(regular_files.LargeFile, match='3 bytes; .*at most 2'):
    regular_files.read(path, 2)


@pytest.mark.parametrize(
  'path, kind', [('/dev/zero', 'a device'), ('/dev', 'a folder')]
)
def test_what_is_no_file_is_named(path, kind):
  with pytest.raises(regular_files.SpecialFile, match=f'{path} is {kind}'):
    regular_files.read(path)


def test_nobody_waits_for_a_fifo(tmp_path):
  os.mkfifo(tmp_path / 'fifo')
  start = time.monotonic()
  with pytest.raises(regular_files.SpecialFile, match='fifo is a FIFO'):
    regular_files.read(tmp_path / 'fifo')
  assert time.monotonic() - start < 1

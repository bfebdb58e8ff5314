"""A file is complete or absent, and its complete rows are read."""

import json

import pytest

from visor_jax.runtime import files


@pytest.mark.parametrize(
  'text,want',
  [
    ('', []),
    ('{"a": 1}\n', [1]),
    ('{"a": 1}\n{"a": 2}\n', [1, 2]),
    ('{"a": 1}\n{"a": 2', [1]),
    ('{"a": 1}\n{"a": 2}', [1]),
    ('{"a', []),
  ],
)
def test_a_torn_last_line_is_left_out(text, want, tmp_path):
  (tmp_path / 'x').write_text(text)
  assert [r['a'] for r in files.read_jsonl(tmp_path / 'x')] == want


def test_a_broken_line_in_the_middle_is_not_hidden(tmp_path):
  (tmp_path / 'x').write_text('{"a"\n{"a": 2}\n')
  with pytest.raises(json.JSONDecodeError, match=f'{tmp_path}/x, line 1: '):
    files.read_jsonl(tmp_path / 'x')


def test_no_file_has_no_rows(tmp_path):
  assert files.read_jsonl(tmp_path / 'none') == []


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
  """A full disk must not cost what was there."""
  path = tmp_path / 'deep' / 'x.json'
  files.write_atomic(path, 'old')
  assert path.read_text() == 'old'

  def full(_):
    raise OSError('disk full')

  monkeypatch.setattr(files.os, 'fsync', full)
  with pytest.raises(OSError, match='disk full'):
    files.write_atomic(path, 'new')
  assert path.read_text() == 'old'

"""What lost a part is never taken for what was written."""

import json
import subprocess

import pytest

from visor_jax.runtime import checksums
from visor_jax.runtime import files

TEXT = ''.join(json.dumps(dict(index=i)) + '\n' for i in range(4))


@pytest.fixture
def path(tmp_path):
  checksums.write(tmp_path / 'x.jsonl', TEXT)
  return tmp_path / 'x.jsonl'


def rows(path):
  return [row for _, row in checksums.read_rows(path)]


def test_what_was_written_is_read(path):
  assert checksums.read_text(path) == TEXT
  assert [row['index'] for row in rows(path)] == [0, 1, 2, 3]


def test_others_can_check_the_hash(path):
  check = ['sha256sum', '--check', 'x.jsonl.sha256']
  assert not subprocess.run(
    check, cwd=path.parent, capture_output=True
  ).returncode
  path.write_text(TEXT[:-1])
  assert subprocess.run(check, cwd=path.parent, capture_output=True).returncode


@pytest.mark.parametrize(
  'torn',
  [
    '',
    TEXT[:-1],
    TEXT[:-9],
    ''.join(TEXT.splitlines(True)[:3]),
    ''.join(TEXT.splitlines(True)[1:]),
    ''.join(TEXT.splitlines(True)[::-1]),
    TEXT + '{"index": 4}\n',
    TEXT.replace('3', '5'),
  ],
)
def test_a_torn_file_is_refused(torn, path):
  path.write_text(torn)
  with pytest.raises(ValueError, match=f'{path} is not what was written'):
    rows(path)


def test_a_file_that_was_changed_on_purpose_needs_no_hash(path):
  path.write_text('{"index": 9}\n')
  (path.parent / 'x.jsonl.sha256').unlink()
  assert [row['index'] for row in rows(path)] == [9]


@pytest.mark.parametrize('failing,want', [(0, [0, 1, 2, 3]), (1, [7])])
def test_a_write_that_is_cut_off_leaves_a_file_that_can_be_read(
  failing, want, path, monkeypatch
):
  """Killed before or after the file: its old text, or the new one."""
  write, calls = files.write_atomic, []

  def cut_off(*arguments):
    if len(calls) == failing:
      raise KeyboardInterrupt
    calls.append(write(*arguments))

  monkeypatch.setattr(files, 'write_atomic', cut_off)
  with pytest.raises(KeyboardInterrupt):
    checksums.write(path, '{"index": 7}\n')
  assert [row['index'] for row in rows(path)] == want


@pytest.mark.parametrize('line', ['{"index": 4', '[1]', '4', '{"a": 1}}'])
def test_a_line_that_is_no_object_is_named(line, path):
  checksums.write(path, TEXT + line + '\n')
  with pytest.raises(ValueError, match='x.jsonl, line 5: '):
    rows(path)


def test_a_key_that_is_missing_is_named(path):
  checksums.write(path, '{"viable": []}')
  assert checksums.read_object(path, 'viable') == dict(viable=[])
  with pytest.raises(
    ValueError, match='x.jsonl lacks "curve"; it has .*viable'
  ):
    checksums.read_object(path, 'viable', 'curve')


@pytest.mark.parametrize('text', ['', '{', '{"a": 1', '{"a": 1}}', 'x'])
def test_a_file_that_is_no_json_is_named(text, tmp_path):
  (tmp_path / 'x').write_text(text)
  with pytest.raises(ValueError, match=f'{tmp_path}/x: '):
    checksums.read_object(tmp_path / 'x')


def test_what_can_be_made_again_is_told(path, capsys):
  read = lambda: rows(path)
  assert checksums.intact(path, read) == rows(path)
  path.write_text('')
  assert checksums.intact(path, read) is None
  assert 'x.jsonl is not what was written' in capsys.readouterr().out
  checksums.remove(path)
  assert checksums.intact(path, read) is None
  assert not capsys.readouterr().out and not list(path.parent.iterdir())

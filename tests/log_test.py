"""Files that are whole or absent, rows that are there once."""

import json

import pytest

from visor_jax import log


@pytest.mark.parametrize('seconds,want', [
    (0, '0s'), (59.9, '59s'), (60, '1m00s'), (3599, '59m59s'),
    (3600, '1h00m'), (7_620, '2h07m'), (360_000, '100h00m')])
def test_duration(seconds, want):
  assert log.duration(seconds) == want


def test_metrics_after_the_checkpoint_are_of_a_run_that_is_gone(tmp_path):
  """A resume writes these steps again; twice would bend every plot."""
  path = tmp_path / 'stage' / 'metrics.jsonl'
  with log.Metrics(path) as metrics:
    for step in (2, 4, 6):
      metrics.write({'step': step, 'run': 1})
  with open(path, 'a') as f:
    f.write('{"step": 8, "ru')  # killed while writing
  with log.Metrics(path, 4) as metrics:
    metrics.write({'step': 6, 'run': 2})
  assert [(r['step'], r['run']) for r in log.read_jsonl(path)] == [
      (2, 1), (4, 1), (6, 2)]
  with log.Metrics(path):  # a fresh start
    pass
  assert log.read_jsonl(path) == []


def test_a_row_is_on_disk_as_soon_as_it_is_written(tmp_path):
  """Who watches a run reads the file, and a kill loses nothing."""
  with log.Metrics(tmp_path / 'm.jsonl') as metrics:
    metrics.write({'step': 1})
    assert log.read_jsonl(tmp_path / 'm.jsonl') == [{'step': 1}]


@pytest.mark.parametrize('text,want', [
    ('', []), ('{"a": 1}\n', [1]), ('{"a": 1}\n{"a": 2}\n', [1, 2]),
    ('{"a": 1}\n{"a": 2', [1]), ('{"a": 1}\n{"a": 2}', [1]), ('{"a', [])])
def test_a_torn_last_line_is_left_out(text, want, tmp_path):
  (tmp_path / 'x').write_text(text)
  assert [r['a'] for r in log.read_jsonl(tmp_path / 'x')] == want


def test_a_broken_line_in_the_middle_is_not_hidden(tmp_path):
  (tmp_path / 'x').write_text('{"a"\n{"a": 2}\n')
  with pytest.raises(json.JSONDecodeError):
    log.read_jsonl(tmp_path / 'x')


def test_no_file_has_no_rows(tmp_path):
  assert log.read_jsonl(tmp_path / 'none') == []


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
  """A full disk must not cost what was there."""
  path = tmp_path / 'deep' / 'x.json'
  log.write_atomic(path, 'old')
  assert path.read_text() == 'old'

  def full(_):
    raise OSError('disk full')

  monkeypatch.setattr(log.os, 'fsync', full)
  with pytest.raises(OSError, match='disk full'):
    log.write_atomic(path, 'new')
  assert path.read_text() == 'old'


def test_the_pace_counts_what_this_process_did(capsys, monkeypatch):
  """After a resume at 80 of 100 the first 80 steps took no time at all."""
  now = [0.0]
  monkeypatch.setattr(log.time, 'monotonic', lambda: now[0])
  progress = log.Progress('full', 100)
  now[0] = 30.0  # compiling, which is no pace either
  progress.line(80)
  assert 'ETA' not in capsys.readouterr().out
  now[0] = 50.0
  progress.line(90, loss=1.23456, n=3)
  out = capsys.readouterr().out
  assert 'full 90/100' in out and 'loss 1.235' in out and 'n 3' in out
  assert '0.5/s' in out and 'ETA 20s' in out


def test_a_line_before_anything_is_done_divides_by_nothing(capsys):
  log.Progress('full', 10).line(0)
  assert 'full 0/10' in capsys.readouterr().out

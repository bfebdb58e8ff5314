"""What may pass is tried again, in bounds, and said."""

import errno

import pytest

from visor_jax.runtime import errors
from visor_jax.runtime import files
from visor_jax.runtime import retry


@pytest.fixture(autouse=True)
def waits(monkeypatch):
  """No test waits; the seconds that would have been waited."""
  waited = []
  monkeypatch.setattr(retry.time, 'sleep', waited.append)
  return waited


def fails(times, error):
  """An act that fails so often, and how often it was tried."""
  tried = []

  def act():
    tried.append(1)
    if len(tried) <= times:
      raise error
    return 'done'

  return act, tried


EIO = OSError(errno.EIO, 'Input/output error')


@pytest.mark.parametrize('times', [0, 1, 2])
def test_what_passes_is_not_seen(times, waits, capsys):
  act, _ = fails(times, EIO)
  assert retry.retry('reading x', act) == 'done'
  assert len(waits) == times and sum(waits) <= 10
  printed = capsys.readouterr().out
  assert printed.count('reading x: [Errno 5]') == times


def test_what_stays_is_raised_after_the_third_try(waits):
  act, tried = fails(9, EIO)
  with pytest.raises(OSError, match='Input/output'):
    retry.retry('reading x', act)
  assert len(tried) == 3 and waits == [*retry.WAITS]


@pytest.mark.parametrize(
  'error',
  [
    FileNotFoundError(errno.ENOENT, 'no file'),
    PermissionError(errno.EACCES, 'not yours'),
    IsADirectoryError(errno.EISDIR, 'a folder'),
    ValueError('bad'),
    errors.Refusal('bad'),
  ],
)
def test_what_cannot_pass_is_raised_at_once(error, waits):
  act, tried = fails(9, error)
  with pytest.raises(type(error)):
    retry.retry('reading x', act)
  assert len(tried) == 1 and not waits


@pytest.mark.parametrize('name', ['open', 'fsync', 'replace'])
@pytest.mark.parametrize('number', [errno.EIO, errno.ENOSPC, errno.ESTALE])
def test_a_file_is_written_in_the_end(name, number, tmp_path, monkeypatch):
  """Old or new, never half, whichever call fails how often."""
  path = tmp_path / 'x'
  module = files.os if name != 'open' else files
  real = getattr(files.os, name) if name != 'open' else open
  for times in range(4):
    path.write_text('old')
    left = [OSError(number, 'disk')] * times

    def faulty(*args, left=left):
      if left:
        raise left.pop()
      return real(*args)

    with monkeypatch.context() as m:
      m.setattr(module, name, faulty, raising=False)
      if times < 3:
        files.write_atomic(path, 'new')
      else:
        with pytest.raises(OSError, match='disk'):
          files.write_atomic(path, 'new')
    assert path.read_text() == ('new' if times < 3 else 'old')


@pytest.mark.parametrize('number', [errno.EIO, errno.ESTALE])
def test_rows_are_read_in_the_end(number, tmp_path, monkeypatch):
  path = tmp_path / 'x.jsonl'
  path.write_text('{"a": 1}\n')
  left, real = [OSError(number, 'disk')] * 2, type(path).read_text

  def faulty(self):
    if left:
      raise left.pop()
    return real(self)

  monkeypatch.setattr(type(path), 'read_text', faulty)
  assert files.read_jsonl(path) == [{'a': 1}]

"""One holder at a time, on file systems with locks and without."""

import contextlib
import errno
import os
import threading
import time

import pytest

from visor_jax.runtime import lock


@pytest.fixture(params=[None, errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def file(request, tmp_path, monkeypatch):
  """A file on a file system that has locks, or answers so."""
  monkeypatch.setattr(lock, 'BEAT', 0.1)
  monkeypatch.setattr(lock, '_POLL', 0.05)
  if request.param:

    def flock(*_):
      raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(lock.fcntl, 'flock', flock)
  return tmp_path / 'lock'


def test_the_holder_is_written_there(file):
  with lock.hold(file, 'me'):
    assert file.read_text() == 'me'


def test_a_second_one_is_told_who_holds_it(file):
  with lock.hold(file, 'first'):
    for _ in range(3):
      with pytest.raises(lock.HeldError, match='first'):
        with lock.hold(file, 'second'):
          pass
    assert file.read_text() == 'first'


def test_it_goes_with_the_holder(file):
  for name in ('first', 'second'):
    with contextlib.suppress(RuntimeError):
      with lock.hold(file, name):
        raise RuntimeError('it died')
  assert file.read_text() == 'second'


def test_a_second_one_may_wait(file):
  ended = threading.Event()

  def first():
    with lock.hold(file, 'first'):
      ended.wait()

  thread = threading.Thread(target=first)
  thread.start()
  while not file.exists() or file.read_text() != 'first':
    time.sleep(0.01)
  threading.Timer(0.5, ended.set).start()
  with lock.hold(file, 'second', timeout=10):
    assert ended.is_set() and file.read_text() == 'second'
  thread.join()


def test_a_disk_without_locks_is_said(file, capsys):
  with lock.hold(file, 'me'):
    pass
  no_locks = lock.fcntl.flock.__module__ == __name__
  assert ('has no locks' in capsys.readouterr().out) == no_locks


def test_other_errors_are_not_taken_for_that(tmp_path, monkeypatch):
  def flock(*_):
    raise OSError(errno.EIO, 'Input/output error')

  monkeypatch.setattr(lock.fcntl, 'flock', flock)
  with pytest.raises(OSError, match='Input/output'):
    with lock.hold(tmp_path / 'lock', 'me'):
      pass

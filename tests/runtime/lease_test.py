"""One holder at a time of a file in a bucket."""

import contextlib
import subprocess
import sys
import threading
import time

import pytest

from tests import buckets
from visor_jax.runtime import lease
from visor_jax.runtime import lock
from visor_jax.runtime import paths

root = buckets.root


@pytest.fixture
def file(root, monkeypatch):
  monkeypatch.setattr(lease, 'BEAT', 0.2)
  monkeypatch.setattr(lease, 'SILENT', 1.5)
  monkeypatch.setattr(lease, '_POLL', 0.1)
  return paths.parse(root) / 'lock'


def test_the_holder_is_written_there_and_the_next_need_not_wait(file, capsys):
  for name in ('first', 'second', 'third'):
    with contextlib.suppress(SystemExit), lease.hold(file, name):
      assert file.read_text() == name
      sys.exit(75)
  assert 'looking for' not in capsys.readouterr().out
  assert len(list(file.parent.iterdir())) == 2  # itself and one lease


def test_a_second_one_is_told_who_holds_it(file):
  with lease.hold(file, 'first, of all'):
    for _ in range(2):
      with pytest.raises(lock.HeldError, match='^first, of all$'):
        with lease.hold(file, 'second'):
          pass
    assert file.read_text() == 'first, of all'


def test_a_second_one_may_wait(file):
  ended = threading.Event()

  def first():
    with lease.hold(file, 'first'):
      ended.wait()

  thread = threading.Thread(target=first)
  thread.start()
  while not file.exists():
    time.sleep(0.01)
  threading.Timer(1, ended.set).start()
  with lease.hold(file, 'second', timeout=60):
    assert ended.is_set() and file.read_text() == 'second'
  thread.join()


def test_that_of_a_holder_who_was_killed_is_over_after_a_while(file):
  text = (
    'import os, sys\n'
    'from visor_jax.runtime import lease, paths\n'
    f'with lease.hold(paths.parse({str(file)!r}), "first"):\n'
    '  os.kill(os.getpid(), 9)\n'
  )
  assert subprocess.run([sys.executable, '-c', text]).returncode == -9
  assert file.read_text() == 'first'
  start = time.monotonic()
  with lease.hold(file, 'second'):
    assert file.read_text() == 'second'
  assert time.monotonic() >= start + lease.SILENT


def test_one_sign_may_be_of_a_holder_who_was_killed(file, monkeypatch):
  """What was on its way then comes late, and is no life."""
  lease._make(lease._lease(file, 1), 'first')
  late = threading.Timer(
    0.5, lease._lease(file, 1).write_text, [lease._sign('first', 1)]
  )
  late.start()
  with lease.hold(file, 'second'):
    assert file.read_text() == 'second' and late.finished.is_set()


@pytest.mark.parametrize('root', ['s3'], indirect=True)
def test_of_many_that_want_it_one_gets_it(file):
  """The emulator of GCS has no ifGenerationMatch, on which this rests."""
  holders, told = [], []
  ended = threading.Event()

  def want(name):
    try:
      with lease.hold(file, name):
        holders.append(name)
        ended.wait()
    except lock.HeldError:
      told.append(name)
    if len(told) == 5:
      ended.set()

  threads = [threading.Thread(target=want, args=(str(n),)) for n in range(6)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(timeout=60)
  assert len(holders) == 1 and len(told) == 5


def test_a_holder_whose_file_was_taken_ends(file, monkeypatch):
  """Asleep for longer than leases last, it must not write beside another."""
  left = threading.Event()
  monkeypatch.setattr(lease, '_leave', lambda why: left.set())
  with lease.hold(file, 'first'):
    lease._make(lease._lease(file, 2), 'second')
    assert left.wait(10)


def test_a_holder_that_cannot_say_so_ends(file, monkeypatch):
  left, ended = [], threading.Event()
  monkeypatch.setattr(
    lease, '_leave', lambda why: left.append(why) or ended.set()
  )

  def unreachable(_):
    raise OSError('no network')

  with lease.hold(file, 'first'):
    monkeypatch.setattr(lease, '_numbers', unreachable)
    assert ended.wait(10)
  assert 'no network' in left[0]

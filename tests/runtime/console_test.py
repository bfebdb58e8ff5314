"""A person reads how far a run is, and how long it will take."""

import time

import pytest

from visor_jax.runtime import console


@pytest.mark.parametrize(
  'seconds,want',
  [
    (0, '0s'),
    (59.9, '59s'),
    (60, '1m00s'),
    (3599, '59m59s'),
    (3600, '1h00m'),
    (7_620, '2h07m'),
    (360_000, '100h00m'),
  ],
)
def test_duration(seconds, want):
  assert console.duration(seconds) == want


def test_the_pace_counts_what_this_process_did(capsys, monkeypatch):
  """After a resume at 80 of 100 the first 80 steps took no time at all."""
  now = [0.0]
  monkeypatch.setattr(console.time, 'monotonic', lambda: now[0])
  progress = console.Progress('full', 100)
  now[0] = 30.0  # compiling, which is no pace either
  progress.line(80)
  assert 'ETA' not in capsys.readouterr().out
  now[0] = 50.0
  progress.line(90, loss=1.23456, n=3)
  out = capsys.readouterr().out
  assert 'full 90/100' in out and 'loss 1.235' in out and 'n 3' in out
  assert '0.5/s' in out and 'ETA 20s' in out


def test_a_line_before_anything_is_done_divides_by_nothing(capsys):
  console.Progress('full', 10).line(0)
  assert 'full 0/10' in capsys.readouterr().out


def test_what_takes_long_is_said_again_and_again(capsys):
  with console.heartbeat('compiling', every=0.01):
    while capsys.readouterr().out.count('compiling, 0s') < 1:
      time.sleep(0.01)

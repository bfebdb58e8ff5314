"""Rows that are there once, skipped steps, and the wait for input."""

import sys
import threading
import time

import pytest

from visor_jax.runtime import files
from visor_jax.training import metrics as metrics_lib


def test_metrics_after_the_checkpoint_are_of_a_run_that_is_gone(tmp_path):
  """A resume writes these steps again; twice would bend every plot."""
  path = tmp_path / 'stage' / 'metrics.jsonl'
  with metrics_lib.Metrics(path) as metrics:
    for step in (2, 4, 6):
      metrics.write({'step': step, 'run': 1})
  with open(path, 'a') as f:
    f.write('{"step": 8, "ru')  # killed while writing
  with metrics_lib.Metrics(path, 4) as metrics:
    metrics.write({'step': 6, 'run': 2})
  assert [(r['step'], r['run']) for r in files.read_jsonl(path)] == [
    (2, 1),
    (4, 1),
    (6, 2),
  ]
  with metrics_lib.Metrics(path):  # a fresh start
    pass
  assert files.read_jsonl(path) == []


def skips(path, *flags, start=0):
  with metrics_lib.NonFiniteSteps(path, start, batch=8, patience=3) as skipped:
    for step, flag in enumerate(flags, start + 1):
      skipped.add(step, flag)
      skipped.check()
    return skipped.take()


def test_steps_that_were_skipped_are_counted_and_written(tmp_path):
  """With the numbers of their rows, which is all that a batch comes from."""
  path = tmp_path / 'nonfinite.jsonl'
  assert skips(path, 0, 1, 1, 0, 1) == 3
  assert files.read_jsonl(path) == [
    {'step': 2, 'rows': [8, 16]},
    {'step': 3, 'rows': [16, 24]},
    {'step': 5, 'rows': [32, 40]},
  ]
  assert skips(path, 1, 0, start=2) == 1  # a resume
  assert [r['step'] for r in files.read_jsonl(path)] == [2, 3]


def test_a_streak_of_skipped_steps_stops_the_run(tmp_path):
  skips(tmp_path / 'x', 1, 1, 0, 1, 1)
  with pytest.raises(
    ValueError, match='up to step 5.*optim.max_nonfinite_steps'
  ):
    skips(tmp_path / 'x', 1, 0, 1, 1, 1)
  assert [r['step'] for r in files.read_jsonl(tmp_path / 'x')] == [1, 3, 4, 5]


def test_a_row_is_on_disk_as_soon_as_it_is_written(tmp_path):
  """Who watches a run reads the file, and a kill loses nothing."""
  with metrics_lib.Metrics(tmp_path / 'm.jsonl') as metrics:
    metrics.write({'step': 1})
    assert files.read_jsonl(tmp_path / 'm.jsonl') == [{'step': 1}]


def slow(count, seconds):
  for i in range(count):
    time.sleep(seconds)
    yield i


@pytest.mark.parametrize(
  'work,input_,low,high',
  [
    (0.05, 0, 0, 0.05),
    (0.05, 0.03, 0, 0.1),
    (0.01, 0.09, 0.6, 0.95),
    (0.05, 0.1, 0.3, 0.65),
  ],
)
def test_a_device_waits_only_when_its_work_is_done(work, input_, low, high):
  """Input that comes while the device is busy costs nothing."""
  with metrics_lib.InputWaitMeter() as wait:
    busy = None
    for _ in wait.batches(slow(8, input_)):
      if busy:
        busy.join()
      else:
        wait.share()  # what came before the first step is no wait
      busy = threading.Thread(target=time.sleep, args=(work,))
      busy.start()
      wait.busy(busy.join)
    assert low <= wait.share() <= high
    assert wait.share() < 0.1  # of the time since


def test_what_fails_on_the_device_is_raised():
  def fail():
    raise RuntimeError('out of memory')

  with (
    metrics_lib.InputWaitMeter() as wait,
    pytest.raises(RuntimeError, match='out of memory'),
  ):
    for _ in wait.batches(slow(3, 0.01)):
      wait.busy(fail)


def test_tensorboard_shows_what_the_file_has(tmp_path):
  """Rows of steps that are done again are not shown twice."""
  from tensorboardX.proto import event_pb2
  from tensorboardX.record_writer import struct

  def shown():
    for file in sorted((tmp_path / 'board').iterdir()):
      data = file.read_bytes()
      while data:
        (size,) = struct.unpack('<Q', data[:8])
        event = event_pb2.Event.FromString(data[12 : 12 + size])
        data = data[16 + size :]
        if event.session_log.status:
          yield 'start', event.step
        yield from (
          (v.tag, event.step, v.simple_value) for v in event.summary.value
        )

  for start in (0, 2):
    with metrics_lib.Metrics(
      tmp_path / 'm.jsonl', start, tmp_path / 'board'
    ) as metrics:
      for step in range(start + 1, 4):
        metrics.write(dict(step=step, loss=step / 4))
  assert list(shown()) == [
    ('start', 1),
    ('loss', 1, 0.25),
    ('loss', 2, 0.5),
    ('loss', 3, 0.75),
    ('start', 3),
    ('loss', 3, 0.75),
  ]
  assert [r['step'] for r in files.read_jsonl(tmp_path / 'm.jsonl')] == [
    1,
    2,
    3,
  ]


def test_without_tensorboard_the_extra_is_named(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'tensorboardX', None)
  with pytest.raises(ValueError, match=r"pip install 'visor_jax\[tensorb"):
    metrics_lib.Metrics(tmp_path / 'm.jsonl', 0, tmp_path / 'board')

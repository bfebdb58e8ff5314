"""The wait for input."""

import threading
import time

import pytest

from visor_jax.training import input_wait


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
  with input_wait.InputWaitMeter() as wait:
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
    input_wait.InputWaitMeter() as wait,
    pytest.raises(RuntimeError, match='out of memory'),
  ):
    for _ in wait.batches(slow(3, 0.01)):
      wait.busy(fail)

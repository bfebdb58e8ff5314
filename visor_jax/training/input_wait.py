"""Whether devices wait for input."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import concurrent.futures
import time
from typing import Self
from typing import TypeVar

T = TypeVar('T')


class InputWaitMeter:
  """Share of the time in which a device has nothing to do but wait for input.

  Batches are taken while the device is at work, so what the loop waits for
  them is not what the device waits: that begins when its work is done.
  """

  def __init__(self) -> None:
    self._pool = concurrent.futures.ThreadPoolExecutor(1)
    self._finished: concurrent.futures.Future[float] | None = None
    self._waited, self._since = 0.0, time.monotonic()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *exc: object) -> None:
    self._pool.shutdown()

  def busy(self, block: Callable[[], object]) -> None:
    """The device is at work until `block()` returns."""

    def finish() -> float:
      block()
      return time.monotonic()

    self._finished = self._pool.submit(finish)

  def batches(self, batches: Iterable[T]) -> Iterator[T]:
    """Passes batches on."""
    asked = time.monotonic()
    for batch in batches:
      now = time.monotonic()
      if self._finished and self._finished.done():
        self._waited += now - max(asked, self._finished.result())
      yield batch
      asked = time.monotonic()

  def share(self) -> float:
    """Of the time since this was last asked."""
    now = time.monotonic()
    share = self._waited / max(now - self._since, 1e-9)
    self._waited, self._since = 0.0, now
    return share

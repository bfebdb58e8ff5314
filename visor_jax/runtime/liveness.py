"""Who has gone silent, by host and number.

Each process leaves a sign of life every few seconds. Process 0 reads them all;
the others notice when it does not take theirs. Jax ends all of them when one
has been silent for 100 seconds, and says its number alone; this is said before.
"""

import atexit
from collections.abc import Callable
from collections.abc import Mapping
import sys
import threading
import time

from visor_jax.runtime import jax_private

PERIOD = 10.0  # seconds between two signs
SILENT = 45.0  # seconds without one

_FOLDER = 'visor_jax/alive'


class Watch:
  """Two threads: one leaves signs, one looks for those of others.

  Args:
    client: connection to the service that processes coordinate by.
    index: number of this process.
    hosts: {process: its host}.
    period: seconds between two signs.
    silent: seconds after which a process without a sign is named.
  """

  def __init__(
    self,
    client: jax_private.CoordinationClient,
    index: int,
    hosts: Mapping[int, str],
    period: float = PERIOD,
    silent: float = SILENT,
  ):
    self._client = client
    self._index = index
    self._hosts = hosts
    self._period = period
    self._silent = silent
    self._ended = threading.Event()
    self._signs: dict[int, str] = {}  # of process 0: the last of each
    self._heard = dict.fromkeys(hosts, time.monotonic())
    self._named: set[int] = set()
    self._threads = [
      threading.Thread(target=self._repeat, args=(act,), daemon=True)
      for act in (self._sign, self._judge_all)
    ]
    for thread in self._threads:
      thread.start()
    atexit.register(self.close)  # before jax lets go of the client

  def close(self) -> None:
    """Ends the threads."""
    self._ended.set()
    for thread in self._threads:
      thread.join(timeout=self._period)

  def _repeat(self, act: Callable[[], None]) -> None:
    while not self._ended.wait(self._period):
      try:
        act()
      except Exception:  # the service is gone: jax says so, and ends us
        return

  def _sign(self) -> None:
    self._client.key_value_set(
      f'{_FOLDER}/{self._index:06d}', str(time.monotonic()), True
    )
    self._heard[0] = time.monotonic()  # who serves it took it

  def _judge_all(self) -> None:
    if self._index == 0:
      for key, sign in self._client.key_value_dir_get(_FOLDER):
        process = int(key.rpartition('/')[2])
        if self._signs.get(process) != sign:
          self._signs[process] = sign
          self._heard[process] = time.monotonic()
    for process in self._hosts if self._index == 0 else (0,):
      self._judge(process, time.monotonic() - self._heard[process])

  def _judge(self, process: int, seconds: float) -> None:
    """Says once that a process is silent, and once that it is not any more."""
    silent = seconds > self._silent
    if silent == (process in self._named):
      return
    if silent:
      self._named.add(process)
      text = f'has not been heard of for {seconds:.0f} seconds'
    else:
      self._named.remove(process)
      text = 'is heard of again'
    # Not on the console: it is muted where it may matter.
    line = f'process {process} on {self._hosts[process]} {text}'
    print(line, file=sys.stderr, flush=True)

"""SIGTERM and Ctrl-C: what is not saved yet can be saved before leaving.

Loops ask between two units of work, steps or chunks of answers, and leave with
EXIT_CODE when a signal came. On one process a flag holds it. On several, jax's
preemption service does: it takes SIGTERM on any of them and picks a moment that
none has reached yet, so that all leave at the same one; Ctrl-C is handed to it.

A second Ctrl-C kills. A second SIGTERM does not: clusters send it again while a
process still saves.
"""

import itertools
import os
import signal
import threading
import time

from visor_jax.runtime import console

# sysexits.h: try again later. Not 143, by which a shell, SLURM or Kubernetes
# says that SIGTERM killed a process: this one has saved and may be restarted.
EXIT_CODE = 75

# Seconds in which two are one: a terminal and a wrapper both pass Ctrl-C on.
_ECHO = 0.3

_received = threading.Event()
_first: list[int] = []  # the signal that came first
_several = threading.Event()  # jax's service is there
_polls = itertools.count(1)


def install_handler() -> None:
  """From now on SIGTERM and Ctrl-C ask to leave; needs no jax.

  A thread hears of them: a handler of Python would only run when the main
  thread comes back, which may be compiling for minutes.
  """
  heard, wakes = os.pipe()
  os.set_blocking(wakes, False)
  signal.signal(signal.SIGINT, lambda *_: None)  # else it would raise
  if not _several.is_set():  # else the service has its own handler
    signal.signal(signal.SIGTERM, lambda *_: None)
  signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
  threading.Thread(target=_hear, args=(heard,), daemon=True).start()


def requested() -> bool:
  """Whether this process shall leave now.

  Where there are several, each asks equally often, and the answer is yes only
  once: moments are told apart by how often was asked before.
  """
  if not _several.is_set():
    return _received.is_set()
  from jax.experimental import multihost_utils

  return multihost_utils.reached_preemption_sync_point(next(_polls))


def reason() -> str:
  """The signal that came, for the console; another process may have got it."""
  return signal.Signals(_first[0] if _first else signal.SIGTERM).name


def hand_over() -> None:
  """Has jax's service decide from now on; to be called when it is there."""
  _several.set()
  if _received.is_set():
    _tell_service()


def _hear(heard: int) -> None:
  """Takes signals as they come, whatever the main thread does."""
  last = -_ECHO
  while signals := os.read(heard, 64):
    numbers = [n for n in signals if n in (signal.SIGTERM, signal.SIGINT)]
    now, echo = time.monotonic(), time.monotonic() < last + _ECHO
    if signal.SIGINT in numbers and _received.is_set() and not echo:
      os.write(2, b'SIGINT again: killed\n')
      os._exit(128 + signal.SIGINT)
    if numbers and not _received.is_set():
      last = now
      _first.append(numbers[0])
      _received.set()
      console.log(f'{reason()}: saving and leaving; Ctrl-C again kills')
      if _several.is_set():
        _tell_service()


def _tell_service() -> None:
  os.kill(os.getpid(), signal.SIGTERM)  # of which it has the handler

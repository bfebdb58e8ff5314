"""SIGTERM: the machine is taken away, and what is not saved yet can be saved.

Loops ask between two units of work, steps or chunks of answers, and leave with
EXIT_CODE when it came. On one process a flag holds it. On several, jax's
preemption service does: it takes the signal on any of them and picks a moment
that none has reached yet, so that all leave at the same one.
"""

import itertools
import signal
import threading

import jax
from jax.experimental import multihost_utils

# sysexits.h: try again later. Not 143, by which a shell, SLURM or Kubernetes
# says that SIGTERM killed a process: this one has saved and may be restarted.
EXIT_CODE = 75

_received = threading.Event()
_polls = itertools.count(1)


def install_handler() -> None:
  """From now on SIGTERM does not kill; call it after jax.distributed.

  A handler of Python runs when jax comes back: compiling is not cut short.
  """
  if not jax.distributed.is_initialized():  # the service has its own handler
    signal.signal(signal.SIGTERM, lambda *_: _received.set())


def requested() -> bool:
  """Whether this process shall leave now.

  Where there are several, each asks equally often, and the answer is yes only
  once: moments are told apart by how often was asked before.
  """
  if jax.distributed.is_initialized():
    return multihost_utils.reached_preemption_sync_point(next(_polls))
  return _received.is_set()

"""Memory in large pages: on a CPU steps take three quarters of the time.

XLA takes its temporary buffers anew at every step, and small pages are cleared
one by one; see "Training on a CPU" of docs/performance.md.
"""

import os
import sys

_VARIABLE, _VALUE = 'GLIBC_TUNABLES', 'glibc.malloc.hugetlb=1'


def use() -> None:
  """Has malloc ask for them, which on Linux a process must be started with.

  The program starts again as it was called, under the same process number. One
  that was started with a GLIBC_TUNABLES of its own, an empty one too, goes on.
  """
  if sys.platform == 'linux' and _VARIABLE not in os.environ:
    os.environ[_VARIABLE] = _VALUE
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

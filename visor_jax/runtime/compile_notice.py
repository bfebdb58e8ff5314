"""Says that programs are compiled, so that nobody waits in silence."""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import threading
import time

import jax

# What jax records when a program is about to be compiled, and when it has been;
# one that is read from a cache counts, too.
BEGINS = '/jax/core/compile/jaxpr_to_mlir_module_duration'
ENDS = '/jax/core/compile/backend_compile_duration'

PATIENCE = 1.0  # seconds that need no word


@contextlib.contextmanager
def notices(write: Callable[[str], object]) -> Iterator[None]:
  """Programs that take longer to compile than PATIENCE are spoken of.

  Args:
    write: gets 'compiling ...' meanwhile, and how long it took.
  """
  began, timer = time.monotonic(), threading.Timer(0, write)  # not started

  def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
    nonlocal began, timer
    del kwargs
    if event == BEGINS:
      timer.cancel()
      began = time.monotonic()
      timer = threading.Timer(PATIENCE, write, ['compiling ...'])
      timer.daemon = True
      timer.start()
    elif event == ENDS:
      timer.cancel()
      if duration_secs > PATIENCE:
        write(f'compiled in {time.monotonic() - began:.0f} s')

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    yield
  finally:
    timer.cancel()
    jax.monitoring.unregister_event_duration_listener(listen)

"""Work on many processes that share nothing but a source."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import threading
from typing import Any
from typing import TypeVar

Job = TypeVar('Job')
Shared = TypeVar('Shared')
Result = TypeVar('Result')

_shared: Any = None  # a worker's: sent once, not with every job


def results(
  act: Callable[[Job, Shared], Result],
  jobs: Sequence[Job],
  workers: int,
  shared: Shared,
) -> Iterator[Result]:
  """Results of act(job, shared), in the order of finishing.

  Args:
    act: function of a module, as it is pickled.
    jobs: what is to be done, one a call.
    workers: processes; with one, or one job, all is done in this one.
    shared: what all jobs need.

  Raises:
    RuntimeError: a worker was killed.
    Exception: what `act` raised; jobs that have not begun are dropped.
  """
  if workers <= 1 or len(jobs) <= 1:
    yield from (act(job, shared) for job in jobs)
    return
  pool = concurrent.futures.ProcessPoolExecutor(
    min(workers, len(jobs)),
    multiprocessing.get_context('spawn'),
    _begin,
    (shared,),
  )
  try:
    futures = [pool.submit(_act, act, job) for job in jobs]
    for future in concurrent.futures.as_completed(futures):
      yield future.result()
  finally:
    pool.shutdown(cancel_futures=True)


def _begin(shared: object) -> None:
  """In a worker: takes what is shared, and dies with its parent.

  A worker that outlives a killed parent would wait for work for ever, or write
  where the next run does.
  """
  global _shared
  _shared = shared
  parent = multiprocessing.parent_process()
  assert parent is not None, 'only workers begin'

  def watch() -> None:
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


def _act(act: Callable[[Job, Any], Result], job: Job) -> Result:
  return act(job, _shared)

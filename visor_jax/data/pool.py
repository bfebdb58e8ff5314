"""Work on many processes that share nothing but what they are begun with."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import concurrent.futures
import functools
import multiprocessing
import multiprocessing.connection
import os
import signal
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
  pool = begin(min(workers, len(jobs)), shared)
  try:
    futures = [pool.submit(_act, act, job) for job in jobs]
    for future in concurrent.futures.as_completed(futures):
      yield future.result()
  finally:
    pool.shutdown(cancel_futures=True)


def begin(
  workers: int, shared: object, patient: bool = False
) -> concurrent.futures.ProcessPoolExecutor:
  """Processes for `each`, which begin with their first job.

  Args:
    workers: how many.
    shared: what all jobs need.
    patient: they leave it to their parent to hear that all should stop.
  """
  return concurrent.futures.ProcessPoolExecutor(
    workers, multiprocessing.get_context('spawn'), _begin, (shared, patient)
  )


def each(
  pool: concurrent.futures.ProcessPoolExecutor,
  act: Callable[[Job, Any], Result],
  jobs: Iterable[Job],
  chunk: int,
) -> Iterator[Result]:
  """Results of act(job, shared), in order; `chunk` jobs are sent at a time."""
  return pool.map(functools.partial(_act, act), jobs, chunksize=chunk)


def _begin(shared: object, patient: bool) -> None:
  """In a worker: takes what is shared, and dies with its parent.

  A worker that outlives a killed parent would wait for work for ever, or write
  where the next run does.
  """
  global _shared
  _shared = shared
  if patient:
    for number in (signal.SIGINT, signal.SIGTERM):
      signal.signal(number, signal.SIG_IGN)
  parent = multiprocessing.parent_process()
  assert parent is not None, 'only workers begin'

  def watch() -> None:
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


def _act(act: Callable[[Job, Any], Result], job: Job) -> Result:
  return act(job, _shared)

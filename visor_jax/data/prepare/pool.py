"""Work on many processes that share nothing but a source."""

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import threading

_source = None  # a worker's: sent once, not with every job


def results(act, jobs, workers: int, source):
  """Results of act(job, source), in the order of finishing.

  Args:
    act: function of a module, as it is pickled.
    jobs: list.
    workers: processes; with one, or one job, all is done in this one.
    source: what all jobs need.

  Raises:
    RuntimeError: a worker was killed.
    Exception: what `act` raised; jobs that have not begun are dropped.
  """
  if workers <= 1 or len(jobs) <= 1:
    yield from (act(job, source) for job in jobs)
    return
  pool = concurrent.futures.ProcessPoolExecutor(
    min(workers, len(jobs)),
    multiprocessing.get_context('spawn'),
    _begin,
    (source,),
  )
  try:
    for done in concurrent.futures.as_completed(
      [pool.submit(_act, act, job) for job in jobs]
    ):
      yield done.result()
  finally:
    pool.shutdown(cancel_futures=True)


def _begin(source):
  """In a worker: takes the source, and dies with its parent.

  A worker that outlives a killed parent would wait for work for ever, or write
  where the next run does.
  """
  global _source
  _source = source

  def watch():
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


def _act(act, job):
  return act(job, _source)

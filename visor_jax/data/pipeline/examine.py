"""Questions examined before any is asked.

An image that does not decode shows in no length, and should not end a job that
trained for weeks before.
"""

from collections.abc import Callable
from collections.abc import Iterator
import concurrent.futures
import os
from typing import TypeVar

from visor_jax.data import protocols
from visor_jax.data.sources import image_files
from visor_jax.data.sources import records
from visor_jax.runtime import console

T = TypeVar('T')

TOLD = 1000  # questions between two lines of progress


def require_images(
  record: records.Record, images: int, processor: protocols.Processor
) -> None:
  """Whether the first images of a record can be decoded.

  Args:
    record: one of a source.
    images: how many.
    processor: what the checkpoint makes of them.

  Raises:
    records.BadRecord: one cannot, or is of another size than the record says.
  """
  try:
    for file, size in zip(record.images[:images], record.sizes):
      image_files.check_sizes([processor.open_image(file)], [size])
  except ValueError as e:
    raise records.BadRecord('broken image', str(e), record.id) from e


def examined(
  examine: Callable[[int], T], count: int, name: str
) -> Iterator[T | ValueError]:
  """Examines questions 0 to `count`, several at a time; yields in order.

  Args:
    examine: what to do with a question, given its number.
    count: questions.
    name: of their stream, for progress.

  Yields:
    What `examine` gives, or the ValueError that it raises.
  """

  def safe(number: int) -> T | ValueError:
    try:
      return examine(number)
    except ValueError as e:
      return e

  progress = console.Progress(f'{name} questions examined', count)
  pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
  try:
    for number, result in enumerate(pool.map(safe, range(count)), 1):
      yield result
      if not number % TOLD:
        progress.line(number)
  finally:
    pool.shutdown(cancel_futures=True)

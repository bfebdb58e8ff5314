"""The endless stream of draws: draw k of a run is a pure function of (seed, k).

Sources take turns in proportion to their weights, evenly rather than by chance:
among the first k draws a source has its share of k, give or take a few. So its
number of earlier draws is a formula, and with it the epoch and how far it is.
Nothing is carried from one draw to the next, and there is no shuffle buffer.
"""

from collections.abc import Iterable
from collections.abc import Iterator
import functools
import hashlib
import itertools
import threading
from typing import NamedTuple

import grain
import numpy as np


class Draw(NamedTuple):
  """One record of the stream.

  Attributes:
    source: number of the source.
    index: index of the record in it.
    epoch: how often the source was gone through before.
  """

  source: int
  index: int  # type: ignore[assignment]  # hides a method of tuple
  epoch: int


class Order:
  """Which record each draw is.

  Attributes:
    seed: the one that was given.
    sizes: records of each source.

  Args:
    seed: names the run, and the stream if there are several.
    sizes: records of each source.
    weights: weight of each source, in any unit; a share is weight / sum of
      weights.

  Raises:
    ValueError: sizes and weights are not as many, there are none, a source has
      no record or a weight is not positive and finite.
  """

  def __init__(
    self, seed: int | str, sizes: Iterable[int], weights: Iterable[float]
  ):
    self.seed, self.sizes = seed, tuple(sizes)
    weights = tuple(weights)
    if not weights or len(self.sizes) != len(weights):
      raise ValueError(
        f'{len(self.sizes)} sources and {len(weights)} weights; '
        'expected as many, and one at least'
      )
    for i, (size, weight) in enumerate(zip(self.sizes, weights)):
      if size < 1:
        raise ValueError(
          f'source {i} has {size} records; expected one at least'
        )
      if not 0 < weight < float('inf'):
        raise ValueError(
          f'source {i} has weight {weight}; expected a positive number'
        )
    # Whole numbers, so that a count is exact after any number of draws.
    self._weights = [max(1, round(w / sum(weights) * 2**32)) for w in weights]
    # Of each source and all behind it.
    self._rest = list(itertools.accumulate(reversed(self._weights)))[::-1]
    # Where in its beat a source begins, so that seeds differ here too.
    self._phase = [
      _hash(f'phase/{seed}/{i}') % rest for i, rest in enumerate(self._rest)
    ]

  def draw(self, k: int) -> Draw:
    """Draw number k, from 0 on."""
    source, count = self.turn(k)
    size = self.sizes[source]
    epoch, at = divmod(count, size)
    index = shuffled(at, size, f'epoch/{self.seed}/{source}/{epoch}')
    return Draw(source, index, epoch)

  def turn(self, k: int) -> tuple[int, int]:
    """The source of draw k, and how many of the draws before were that one's.

    The first source has its beat among all draws, the second among those that
    the first left, and so on; the last takes what no other did.
    """
    for source, (weight, rest, phase) in enumerate(
      zip(self._weights, self._rest, self._phase)
    ):
      count = (k * weight + phase) // rest
      if ((k + 1) * weight + phase) // rest > count:
        return source, count
      k -= count
    raise AssertionError('the last source has weight == rest')


class OnePass:
  """Draws of which none repeats a record, until all have been drawn.

  They are those of an Order until a source is used up; then the others take
  turns in proportion to their weights.

  Args:
    seed: names the run and the stream.
    sizes: records of each source.
    weights: weight of each source.

  Raises:
    ValueError: as of Order.
  """

  def __init__(
    self, seed: int | str, sizes: Iterable[int], weights: Iterable[float]
  ):
    self._seed = seed
    self._sizes, self._weights = tuple(sizes), tuple(weights)
    Order(seed, self._sizes, self._weights)  # raises
    self._rest = self._draws()
    self._drawn: list[Draw] = []
    self._lock = threading.Lock()

  def __len__(self) -> int:
    return sum(self._sizes)

  def draw(self, k: int) -> Draw:
    """Draw number k, from 0 to len - 1; those before it are kept."""
    with self._lock:
      missing = max(0, k + 1 - len(self._drawn))
      self._drawn.extend(itertools.islice(self._rest, missing))
    return self._drawn[k]

  def _draws(self) -> Iterator[Draw]:
    left = dict(enumerate(self._sizes))  # records not yet drawn, by source
    while left:
      sources = tuple(left)
      order = Order(
        self._seed,
        [self._sizes[source] for source in sources],
        [self._weights[source] for source in sources],
      )
      for k in itertools.count():
        source = sources[order.turn(k)[0]]
        size = self._sizes[source]
        key = f'epoch/{self._seed}/{source}/0'
        yield Draw(source, shuffled(size - left[source], size, key), 0)
        left[source] -= 1
        if not left[source]:
          del left[source]
          break


def shuffled(at: int, size: int, key: str) -> int:
  """Number `at` of 0 .. size-1 in an order that `key` names."""
  # grain shuffles 2**16 numbers at least and skips those that are too large,
  # which takes 8 ms where there are four.
  if size <= 2**16:
    return int(_permutation(size, key)[at])
  number = _index_shuffle(at, size, key)
  return number if number < size else _index_shuffle(size, size, key)


def _index_shuffle(at: int, size: int, key: str) -> int:
  """The same by grain's formula, without a table, for one number more.

  4 rounds, as in grain itself, leave neighbours among a million correlated by
  0.4. Its last number is lost where it is a power of 4 (0.2.18), so one more is
  shuffled, and what lands on that goes where that lands.
  """
  return grain.experimental.index_shuffle(
    at, max_index=size, seed=_hash(key) % 2**32, rounds=12
  )


@functools.lru_cache(maxsize=64)
def _permutation(size: int, key: str) -> np.ndarray:
  noise = hashlib.shake_128(key.encode()).digest(8 * size)
  return np.argsort(np.frombuffer(noise, '<u8'), kind='stable')


def _hash(text: str) -> int:
  return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], 'big')

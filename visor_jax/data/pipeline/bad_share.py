"""Whether more records are bad than may be, of which only some are seen yet."""

import collections
import math
import threading

from visor_jax.data.sources import records

# A run whose data is as bad as may be, or better, stops by chance with this
# probability at most, however long it goes on.
FALSE_STOPS = 1e-3

# How many times larger than they may be the odds of a bad record are taken to
# be: near ones tell a little too much after long, far ones much too much soon.
_ODDS = (1.1, 1.25, 1.5, 2, 4, 16, 64)


def exceeds(bad: int, seen: int, share: float) -> bool:
  """Whether so many bad records can be no accident of a share that may be bad.

  Seen records are held against shares that are larger than `share`. Where
  `share` is true, or a smaller one, the mean of their likelihood ratios is a
  supermartingale, which ever reaches 1 / FALSE_STOPS with a probability of at
  most FALSE_STOPS (Ville's inequality). So it may be asked after every record.

  Args:
    bad: records that are bad.
    seen: of so many.
    share: of records that may be bad.
  """
  if not 0 < share < 1:
    return bad > share * seen
  ratios = [
    bad * math.log(odds) - seen * math.log1p(share * (odds - 1))
    for odds in _ODDS
  ]
  highest = max(ratios)
  total = sum(math.exp(ratio - highest) for ratio in ratios)
  evidence = highest + math.log(total / len(ratios))
  return evidence >= -math.log(FALSE_STOPS)


def exceeds_of_all(bad: int, total: int, share: float) -> bool:
  """The same of all records there are, which is asked once.

  The exact binomial test: so many or more would be bad with a probability below
  FALSE_STOPS.

  Args:
    bad: records that are bad.
    total: of so many.
    share: of records that may be bad.
  """
  if bad <= share * total or not 0 < share < 1:
    return bad > share * total
  log_ways = (
    math.lgamma(total + 1) - math.lgamma(bad + 1) - math.lgamma(total - bad + 1)
  )
  term = math.exp(
    log_ways + bad * math.log(share) + (total - bad) * math.log1p(-share)
  )
  probability = 0.0
  for count in range(bad, total + 1):
    probability += term
    if term < 1e-9 * probability:
      break
    term *= (total - count) / (count + 1) * share / (1 - share)
  return probability < FALSE_STOPS


class BadRecordCounter:
  """Counts the bad among the records that were asked for.

  Planning and loading want one each: every host plans all rows but loads its
  own, so that in a sum of both the share of bad images would be diluted.

  Attributes:
    share: share of records that may be bad.
    seen: how many records were asked for.
    bad: Counter of (source, reason).
    first: messages of the first few bad ones.
  """

  def __init__(self, share: float = 0.01):
    self.share = share
    self.seen = 0
    self.bad: collections.Counter[tuple[str, str]] = collections.Counter()
    self.first: list[str] = []
    self._lock = threading.Lock()

  def count(self, source: str, error: ValueError | None = None) -> None:
    """Counts one record of a source.

    Args:
      source: its name.
      error: why it cannot be used, or None; a BadRecord tells its reason.

    Raises:
      records.TooManyBad: they are significantly more than `share`.
    """
    with self._lock:
      self.seen += 1
      if error is None:
        return
      self.bad[source, getattr(error, 'reason', 'other')] += 1
      if len(self.first) < 5:
        self.first.append(f'{source}: {error}')
      bad = self.bad.total()
      if exceeds(bad, self.seen, self.share):
        counts = ', '.join(
          f'{name}: {reason} {n}'
          for (name, reason), n in self.bad.most_common()
        )
        raise records.TooManyBad(
          f'{bad} of {self.seen} records are bad, more than a share of '
          f'{self.share}: {counts}. The first: {"; ".join(self.first)}. Mend '
          'them, or raise data.max_bad_fraction'
        )

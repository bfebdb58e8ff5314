"""A share of bad records is exceeded when that can be no accident."""

import numpy as np
import pytest
from scipy import stats

from visor_jax.data.pipeline import bad_share
from visor_jax.data.sources import records

RUNS, RECORDS, SHARE = 200, 100_000, 0.01


def stops(true_share, runs=RUNS, share=SHARE, seen=RECORDS):
  """After how many records each run is stopped; None for not at all."""
  outcomes = []
  for seed in range(runs):
    bad = np.random.default_rng(seed).random(seen) < true_share
    outcomes.append(
      next(
        (
          int(at) + 1
          for count, at in enumerate(np.flatnonzero(bad), start=1)
          if bad_share.exceeds(count, int(at) + 1, share)
        ),
        None,
      )
    )
  return outcomes


@pytest.mark.parametrize('true_share', [0.005, 0.008, 0.009])
def test_a_run_whose_data_is_good_enough_is_never_stopped(true_share):
  """Asked after every record, for a hundred thousand of them."""
  assert stops(true_share) == [None] * RUNS


def test_at_the_limit_hardly_any_run_is_stopped():
  """A thousandth by the bound; not one in a hundred here."""
  outcomes = stops(SHARE, runs=400, seen=50_000)
  assert sum(at is not None for at in outcomes) < 4


@pytest.mark.parametrize(
  'true_share, median, latest',
  [(0.015, 8000, 30_000), (0.02, 2500, 8000), (0.1, 70, 300), (1, 4, 3)],
)
def test_a_run_whose_data_is_worse_is_always_stopped(
  true_share, median, latest
):
  outcomes = stops(true_share)
  assert None not in outcomes
  assert np.median(outcomes) < median and max(outcomes) <= latest


@pytest.mark.parametrize('share', [0.001, 0.05, 0.25, 0.5])
def test_other_shares_hold_too(share):
  assert stops(0.8 * share, 50, share, 20_000) == [None] * 50
  assert None not in stops(
    1.5 * share, 50, share, 200_000 if share < 0.01 else 20_000
  )


def test_more_bad_records_never_make_it_better():
  for seen in (10, 1000, 100_000):
    outcomes = [
      bad_share.exceeds(bad, seen, SHARE)
      for bad in range(0, seen + 1, max(1, seen // 500))
    ]
    assert outcomes == sorted(outcomes) and outcomes[-1] and not outcomes[0]


def test_the_ends_are_what_they_say():
  """Not one may be bad, or all."""
  assert not bad_share.exceeds(0, 1000, 0)
  assert bad_share.exceeds(1, 1_000_000, 0)
  assert not bad_share.exceeds(1000, 1000, 1)


def test_a_quarter_is_not_too_many_where_a_quarter_may_be_bad():
  counter = bad_share.BadRecordCounter(share=0.25)
  for _ in range(25):
    for error in (None, None, None, ValueError('x')):
      counter.count('a', error)
  assert counter.seen == 100 and counter.bad == {('a', 'other'): 25}


def test_an_accident_is_no_share():
  """Of a few records, one bad one is a large part."""
  counter = bad_share.BadRecordCounter()
  for error in (ValueError('x'), None, ValueError('x')):
    counter.count('a', error)
  with pytest.raises(
    records.TooManyBad,
    match='3 of 4 records are bad, .* 0.01: a: other 3. .*max_bad_fraction',
  ):
    counter.count('a', ValueError('x'))


@pytest.mark.parametrize('share', [0.001, 0.01, 0.05, 0.5])
@pytest.mark.parametrize('total', [1, 2, 10, 150, 400, 10_000, 1_000_000])
def test_of_all_records_the_binomial_test_decides(total, share):
  """The fewest that are too many are those of scipy."""
  binomial = stats.binom(total, share)
  fewest = int(binomial.isf(1e-3))
  for bad in range(max(0, fewest - 3), min(total, fewest + 3) + 1):
    if abs(binomial.sf(bad - 1) - 1e-3) > 1e-9:
      assert bad_share.exceeds_of_all(bad, total, share) == (
        binomial.sf(bad - 1) < 1e-3
      )


def test_the_ends_hold_of_all_records_too():
  assert bad_share.exceeds_of_all(1, 1000, 0)
  assert not bad_share.exceeds_of_all(0, 1000, 0)
  assert not bad_share.exceeds_of_all(1000, 1000, 1)
  assert bad_share.exceeds_of_all(10, 10, 0.01)

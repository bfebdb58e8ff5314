"""Budgets: solved on a curve, met by a mix, and the same for a question
wherever it is asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import rows
from visor_jax.jobs import calibrate
from visor_jax.models import router
from visor_jax.spec import budget
from visor_jax.spec import plan as plans
from visor_jax.spec import shares

CURVE = (
  budget.Point(0.0, 0.2, 0.5, 0.85),
  budget.Point(0.4, 0.2, 0.5, 0.5),
  budget.Point(0.6, 0.5, 0.9, 0.95),
  budget.Point(0.8, 0.7, 0.88, 0.9),
  budget.Point(1.0, 1.1, 1.0, 1.0),
)
ROUTER = plans.Selection('router')


def target(**of):
  return plans.Selection('router', **of)


@pytest.mark.parametrize(
  'asked,low,high,share',
  [
    (0.2, 0.0, 0.4, 0),
    (0.35, 0.4, 0.6, 0.5),
    (0.5, 0.4, 0.6, 1),
    (0.6, 0.6, 0.8, 0.5),
    (1.0, 0.8, 1.0, 0.75),
    (1.1, 0.8, 1.0, 1),
  ],
)
def test_a_budget_lies_between_two_confidences(asked, low, high, share):
  mix = budget.mix_within(CURVE, asked)
  assert (mix.low, mix.high) == (low, high)
  assert mix.share == pytest.approx(share)


@pytest.mark.parametrize('asked', [0.19, 1.11])
def test_what_the_router_cannot_spend_is_said_with_its_range(asked):
  with pytest.raises(ValueError, match=f'{asked}.*from 0.200 .* to 1.100'):
    budget.confidence(target(budget=asked), CURVE, 0.6)


@pytest.mark.parametrize(
  'least,most,ends',
  [
    (0.3274, 1.03474, ('0.328', '1.034')),
    (0.3266, 1.0296, ('0.327', '1.029')),
    (0.2, 1.1, ('0.200', '1.100')),
    (0.99991, 0.99996, ('0.99991', '0.99996')),  # no shorter one is inside
    (0.1 + 0.2, 0.1 + 0.2, ('0.30000000000000004',) * 2),
  ],
)
def test_the_ends_of_a_range_can_be_asked_for(least, most, ends):
  told = shares.inside(least, most)
  assert told == ends
  curve = (CURVE[0]._replace(share=least), CURVE[-1]._replace(share=most))
  for end in map(float, told):
    assert least <= end <= most
    budget.mix_within(curve, end)
  with pytest.raises(ValueError, match=f'from {told[0]} .* to {told[1]} '):
    budget.mix_within(curve, 2.0)


def test_what_the_cheapest_plan_takes_is_enough_for_it():
  shares_of = {(True,): 1.0, (False,): 0.3274}
  with pytest.raises(ValueError, match='the cheapest plan takes 0.328 of'):
    budget.most_expensive(shares_of, 0.327)
  assert budget.most_expensive(shares_of, 0.328) == (False,)


def test_a_budget_may_be_a_share_of_the_whole():
  """Of a curve whose total is half tower: half as much less than max."""
  curve = tuple(p._replace(total=0.5 + p.share / 2) for p in CURVE)
  for asked in (0.3, 0.5, 1.0):
    whole = target(budget=0.5 + asked / 2, budget_of='total')
    got = budget.confidence(whole, curve, 0.6)
    want = budget.mix_within(CURVE, asked)
    assert (got.low, got.high) == (want.low, want.high)
    assert got.share == pytest.approx(want.share)
    assert budget.mix_within(curve, asked) == want  # of prefill, as before
  for asked, of, points, why in (
    (0.5, 'total', curve, 'from 0.600 .* to 1.050 .*max.s FLOPs end to end'),
    (0.7, 'total', CURVE, 'label and policy jobs again'),
    (0.7, 'tower', curve, "'tower'; expected one of prefill, total"),
  ):
    with pytest.raises(ValueError, match=why):
      budget.mix_within(points, asked, of)


@pytest.mark.parametrize(
  'drop,want',
  [(0, 1.0), (0.09, 1.0), (0.1, 0.6), (0.2, 0.6), (0.5, 0.4), (1, 0.4)],
)
def test_a_drop_takes_the_cheapest_that_keeps_enough(drop, want):
  """Down from the largest, up to the first that may keep less."""
  assert budget.confidence(target(drop=drop), CURVE, 0.6) == want


def test_without_a_target_the_usual_confidence():
  assert budget.confidence(ROUTER, CURVE, 0.6) == 0.6
  assert budget.confidence(ROUTER, (), None) is None
  with pytest.raises(ValueError, match='"router@0.3".*policy stage'):
    budget.confidence(target(budget=0.3), (), 0.6)
  with pytest.raises(ValueError, match='drop 1.5'):
    budget.confidence(target(drop=1.5), CURVE, 0.6)


# From scores to a curve -------------------------------------------------------

# A router that reads only the question knows few kinds of them.
KINDS = np.array(
  [[4.0, 0, 0], [1.0, 0, 0], [0.0, 1, 0], [0.0, 0, 3], [-9.0, 0, 9]]
)
COST = np.array([2.0, 5, 10])


def curve(scores):
  """As calibrate makes it, of choices alone."""

  def share(confidence):
    chosen = np.asarray(router.choose(scores, 3, confidence))
    return COST[chosen].mean() / COST[-1]

  return tuple(
    budget.Point(c, share(c), 0.0, 1.0) for c in calibrate.thresholds(scores)
  )


def test_thresholds_part_kinds_of_questions_and_nothing_else():
  """Were one among those of a kind, rounding would decide."""
  rng = np.random.default_rng(0)
  scores = np.float32(np.repeat(KINDS, 50, axis=0))
  noisy = scores + np.float32(1e-5) * rng.standard_normal(scores.shape).astype(
    'float32'
  )
  thresholds = calibrate.thresholds(noisy)
  assert thresholds == sorted(thresholds)
  assert (thresholds[0], thresholds[-1]) == (0, 1)
  assert len(thresholds) <= 2 * len(KINDS) + 1  # two odds a kind
  for confidence in thresholds:
    chosen = np.asarray(router.choose(noisy, 3, confidence))
    assert all(len(set(c)) == 1 for c in chosen.reshape(5, 50))
  shares = [p.share for p in curve(noisy)]
  assert shares == sorted(shares)
  assert (shares[0], shares[-1]) == (0.2, 1)
  assert len(set(shares)) > len(KINDS)


@pytest.mark.parametrize('kind', ['few', 'all different'])
def test_every_budget_is_met_on_questions_not_calibrated_on(kind):
  """Steps of the curve are bridged by the hash."""
  rng = np.random.default_rng(1)
  draw = lambda n: (
    KINDS[rng.integers(5, size=n)]
    + (kind != 'few') * rng.standard_normal((n, 3))
  )
  known = curve(draw(8000))
  assert len(known) <= calibrate.POINTS
  if kind != 'few':  # fine all along, but for those beyond float32
    assert len(known) == calibrate.POINTS
    assert max(np.diff([p.share for p in known])[1:]) < 0.03
  scores, hashes = draw(8000), rng.random(8000)
  for asked in (0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
    mix = budget.mix_within(known, asked)
    chosen = np.asarray(router.choose(scores, 3, mix, hashes))
    assert COST[chosen].mean() / COST[-1] == pytest.approx(asked, rel=0.06)


def test_the_hash_decides_between_the_two_confidences():
  mix = budget.Mix(0.0, 1.0, 0.25)
  chosen = router.choose(
    jnp.zeros((4, 3)), 3, mix, jnp.array([0, 0.2499, 0.25, 0.9])
  )
  assert chosen.tolist() == [2, 2, 0, 0]


def test_confidence_0_is_the_cheapest_however_sure_of_the_most_expensive():
  """Rounded, probabilities of the others may add up to more than 1."""
  scores = np.random.default_rng(0).normal(0, 1, (500, 7)).astype('float32')
  scores[:, 0] = -40
  assert not router.choose(scores, 7, 0.0).any()


# Hashes of questions ---------------------------------------------------------

HASH = jax.jit(router.question_hash, static_argnames='patches')


def question_hash(*figures, **kwargs):
  batch = rows.batch(*((f,) for f in figures), **kwargs)
  return np.asarray(HASH(batch, patches=rows.VISION.patches))


def test_the_hash_is_of_the_question_alone():
  """Whatever its neighbours, its bucket, and the noise in its padding."""
  questions = [rows.Segment('tvvtp', i) for i in range(4)] + ['tp', 'vvp']
  want = question_hash(*questions)
  assert len(set(want.tolist())) == len(questions)
  wide = rows.Shape(text=40, visual=33, tiles=9, prompts=1)
  np.testing.assert_array_equal(
    question_hash(*questions[::-1], shape=wide, noise=7)[::-1], want
  )
  np.testing.assert_array_equal(question_hash(*questions[2:4]), want[2:4])


def test_the_hash_sees_every_token_and_pixel():
  batch = rows.batch(('tvvp',), noise=1)
  was = HASH(batch, patches=rows.VISION.patches)
  for name, at in (
    ('tokens', (0, 0)),
    ('tokens', (0, 1)),
    ('tiles', (0, 0, 3, 2, 1)),
  ):
    changed = batch.map(np.copy)
    getattr(changed, name)[at] ^= 1
    assert HASH(changed, patches=rows.VISION.patches) != was


def test_the_hash_is_even():
  hashes = question_hash(
    *(rows.Segment('tvtp', i) for i in range(2000)),
    shape=rows.Shape(4, 1, 1, 1),
  )
  assert 0 <= hashes.min() and hashes.max() < 1
  counts, _ = np.histogram(hashes, 10, (0, 1))
  assert np.abs(counts - 200).max() < 60  # 4.5 standard deviations


# Plans within a budget -------------------------------------------------------

FOUR = {
  (False, False): 0.25,
  (True, False): 0.6,
  (False, True): 0.6,
  (True, True): 1.0,
}


@pytest.mark.parametrize(
  'spend,plan',
  [
    (0.25, (False, False)),
    (0.59, (False, False)),
    (0.6, (True, False)),
    (0.99, (True, False)),
    (1.0, (True, True)),
    (7.0, (True, True)),
  ],
)
def test_the_most_expensive_plan_within_the_budget(spend, plan):
  assert budget.most_expensive(FOUR, spend) == plan


def test_a_budget_that_nothing_fits_says_what_would():
  with pytest.raises(ValueError, match='budget 0.2: .* 0.250 of max'):
    budget.most_expensive(FOUR, 0.2)


@pytest.mark.parametrize(
  'on,want', [(1, [4]), (2, [2, 6]), (3, [1, 4, 7]), (4, [1, 3, 5, 7]), (0, [])]
)
def test_of_plans_that_cost_the_same_the_most_even_one(on, want):
  """Where the search has not looked, nothing else speaks for one of them."""
  layout = plans.visor(27)
  share = {p: sum(p) / 9 for p in layout.plans}
  chosen = budget.most_expensive(share, on / 9 + 0.01)
  assert [i for i, yes in enumerate(chosen) if yes] == want

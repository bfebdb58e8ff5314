"""CKA where the answer is known."""

import numpy as np

from tests import rows
from visor_jax.analysis import cka
from visor_jax.spec import plan as plans

ALL = np.ones(64, bool)
HSIC = rows.jit(cka.hsic)  # of one shape everywhere: [3, 64, 16]


def features(seed, m=64, d=16):
  return np.random.default_rng(seed).standard_normal((m, d)).astype(np.float32)


def turned(x, seed=9):
  """Rotated, scaled and moved: CKA must not notice."""
  rotation, _ = np.linalg.qr(features(seed, x.shape[1], x.shape[1]))
  return 3 * x @ rotation + 5


def song(x, y):
  """The estimator as Song et al. (2012) write it."""
  k, l = x @ x.T, y @ y.T
  np.fill_diagonal(k, 0)
  np.fill_diagonal(l, 0)
  n, one = len(k), np.ones(len(k))
  return (
    np.trace(k @ l)
    + one @ k @ one * (one @ l @ one) / (n - 1) / (n - 2)
    - 2 / (n - 2) * one @ k @ l @ one
  ) / (n * (n - 3))


def test_the_same_and_the_turned_are_one_and_the_independent_zero():
  x = features(0)
  terms = np.mean(
    [
      HSIC(np.stack([a, turned(a), b]), ALL)
      for a, b in (
        (x, features(1)),
        (features(2), features(3)),
        (features(4), features(5)),
        (features(6), features(7)),
      )
    ],
    axis=0,
  )
  values = cka.ratio(terms)
  np.testing.assert_allclose(values[:2, :2], 1, atol=1e-4)
  # The biased estimator would give 0.2 here.
  np.testing.assert_allclose(values[2, :2], 0, atol=0.03)


def test_it_is_the_estimator_of_the_literature_and_padding_does_not_count():
  x = np.stack([features(0), features(0) + features(1), features(2) ** 2])
  for there in (ALL, np.arange(64) % 3 > 0):
    want = [[song(a[there].astype(float), b[there]) for b in x] for a in x]
    np.testing.assert_allclose(
      HSIC(np.where(there[:, None], x, 1e3), there), want, rtol=1e-3, atol=1e-3
    )


def test_tokens_are_spread_over_the_image():
  real = np.array([0, 1, 1, 1, 0, 1, 1, 1, 0], bool)
  at, there = cka.spread(real, 3)
  assert at.tolist() == [1, 3, 6] and there.all()
  at, there = cka.spread(real, 9)
  assert at[:6].tolist() == [1, 2, 3, 5, 6, 7]
  assert there.tolist() == [True] * 6 + [False] * 3


def test_only_self_layers_change_the_image():
  model = rows.tiny(plans.Layout((plans.TEXT, plans.SELF, plans.CROSS), (1,)))
  kinds = model.layout.fix((True,))
  assert cka.changing(model, kinds) == [None, 1]
  assert cka.changing(model, plans.base(3)) == [None, 0, 1, 2]
  unrefined = rows.change(model, last_visual=False)
  assert cka.changing(unrefined, plans.base(3)) == [None, 0, 1]
  batch = rows.batch(('tvvvvvvvtp',), ('tvvp',))
  values = np.asarray(
    rows.jit(lambda params: cka.similarities(model, params, batch, kinds, 6))(
      rows.params(model)
    )
  )
  assert values.shape == (2, 2, 2) and np.isnan(values[1]).all()
  one = cka.ratio(values[0])
  np.testing.assert_allclose(np.diagonal(one), 1, rtol=1e-6)
  assert -1 <= one[0, 1] < 1

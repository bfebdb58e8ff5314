"""Layers that visual tokens skip: what is computed, and which are chosen."""

import fractions

import jax
import numpy as np
import pytest

from tests import rows
from tests.eval import run_test
from visor_jax.eval import costs
from visor_jax.eval import questions
from visor_jax.eval import skipping
from visor_jax.models import spans
from visor_jax.reduction import dop
from visor_jax.reduction import grammar
from visor_jax.reduction import shortv
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import plan as plans

BATCH = rows.batch(('tvvttp', 'vvtvtpp'), ('ttvvvvtp',))


@pytest.mark.parametrize(
  'text,works,scan',
  [
    ('shortv:0,2', ((0, 1, 0, 1, 1), (0, 1, 0, 1, 1)), False),
    ('vskip:1-3', ((1, 0, 0, 0, 1), (1, 1, 1, 1, 1)), True),
    ('dop:4:2', ((1, 1, 1, 1, 0), (1, 1, 0, 0, 0)), True),
  ],
)
def test_what_is_skipped_is_as_computed_and_thrown_away(text, works, scan):
  """Of packed and padded rows; text reads visual tokens in every layer."""
  model = rows.tiny(plans.visor(5), reduction=text, scan=scan)
  works = tuple(np.array(work, bool) for work in works)

  def both(module, works):
    inputs = module.prepare_inputs(BATCH)
    return (
      spans.run(module.llm, *inputs, None).text,
      skipping.run_layers(module, *inputs, works).text,
    )

  run = rows.jit(
    lambda params, works: model.apply({'params': params}, works, method=both)
  )
  params = rows.params(model)
  text_slots = np.asarray(BATCH.text_segment) > 0
  skipped, thrown_away = (np.asarray(x)[text_slots] for x in run(params, works))
  np.testing.assert_allclose(skipped, thrown_away, atol=1e-5)
  everything = tuple(np.ones(5, bool) for _ in works)
  _, base = run(params, everything)
  assert np.abs(np.asarray(base)[text_slots] - skipped).max() > 1e-2


def test_layers_are_skipped_from_the_least_missed_on():
  missed = {1: 0.1, 3: 0.2, 0: 0.3, 2: 9.0}
  divergence = {shortv.ShortV((n,)): missed[n] for n in missed}
  chosen = [
    shortv.ShortV.chosen(divergence, lambda s: len(s.skipped) >= least, 4)
    for least in (1, 3)
  ]
  assert chosen == [shortv.ShortV((1,)), shortv.ShortV((0, 1, 3))]


def test_operations_end_where_the_sum_of_what_is_missed_is_least():
  def cheap(setting):
    return setting.attention + setting.mlp <= 4

  divergence = {
    setting: (3 - setting.attention) * 1.0 + (3 - setting.mlp) * 0.4
    for setting in dop.DOP.alone(3)
  }
  assert dop.DOP.chosen(divergence, cheap, 3) == dop.DOP(3, 1)
  assert dop.DOP.chosen(divergence, lambda _: True, 3) == dop.DOP(3, 3)


def test_what_is_chosen_is_what_is_missed_least_and_cheap_enough():
  subject = run_test.make(mesh_lib.make(devices=jax.devices()[:1]))
  searches = grammar.searches('shortv:0.6+vskip:0.9+dop:0.6')
  settings = skipping.find(subject, searches, 16)
  lengths = questions.mean_lengths(subject.suite, skipping.STREAM, 64)
  model = subject.model
  base = costs.prefill_flops(model.architecture, None, *lengths)
  for search, setting in settings.items():
    assert isinstance(setting, search.method)
    reduced = model.with_reduction(str(setting)).architecture
    share = costs.prefill_flops(reduced, None, *lengths) / base
    assert search.share - fractions.Fraction(1, 4) < share <= search.share
  parts = shortv.ShortV.alone(4)
  missed = skipping.divergences(subject, parts, 16)
  skipped = settings[searches[0]].skipped
  assert max(missed[[*skipped]]) <= min(np.delete(missed, skipped))
  # The last layer's visual tokens are read by nobody, as all may hear.
  assert missed[3] == pytest.approx(0, abs=1e-6) and min(missed[:3]) > 1e-4
  assert 3 in skipped
  with pytest.raises(ValueError, match='"shortv:1/9": .* takes 0.2. of'):
    skipping.check(
      model.architecture, subject.suite, grammar.searches('dop:0.6+shortv:1/9')
    )

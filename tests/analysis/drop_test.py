"""Layers that do not see the image, and families that respond alike."""

import functools
import types

import numpy as np

from tests import rows
from visor_jax.analysis import clusters
from visor_jax.analysis import drop
from visor_jax.eval import run as eval_run
from visor_jax.spec import plan as plans

S, T, C = plans.SELF, plans.TEXT, plans.CROSS
MODEL = rows.tiny(plans.Layout((C, S, C), (1,)))
MAX = MODEL.layout.fix((True,))
BATCH, OTHER = (rows.batch(('ttvvvvtp',)) for _ in range(2))
OTHER.tiles[:] = 255 - BATCH.tiles
UNDER_TEST = eval_run.ModelUnderTest(MODEL, rows.params(MODEL), None, None)


@functools.cache
def program(layout):
  model = rows.change(MODEL, layout=layout)
  return rows.jit(
    lambda params, batch: model.apply({'params': params}, batch, ())[0, :4]
  )


def logits(kinds, layers, batch=BATCH, params=None):
  under_test = drop.blind(UNDER_TEST, kinds, layers)
  return program(under_test.model.layout)(params or under_test.params, batch)


def test_nothing_dropped_is_the_model():
  want = rows.jit(lambda p: MODEL.apply({'params': p}, BATCH, None))(
    UNDER_TEST.params
  )[0, :4]
  rows.close(logits(plans.base(3), ()), want)


def test_all_dropped_is_blind():
  base = plans.base(3)
  assert np.abs(logits(base, ()) - logits(base, (), OTHER)).max() > 1e-3
  np.testing.assert_array_equal(
    logits(base, range(3)), logits(base, range(3), OTHER)
  )


def test_the_cross_layers_that_are_left_keep_their_weights():
  """One whose output is zero reads nothing, and so is a TEXT layer."""
  params = rows.params(MODEL)
  cross = params['llm']['cross']
  out = cross['out'] * np.float32([0, 1])[:, None, None, None]
  silent = params | {'llm': params['llm'] | {'cross': cross | {'out': out}}}
  rows.close(logits(MAX, (0,)), logits(MAX, (), params=silent))


def test_stretches_are_of_at_most_six_parts():
  assert drop.stretches([]) == []
  assert drop.stretches([4]) == [(4,)]
  assert drop.stretches([2, 3, 4]) == [
    (2,),
    (3,),
    (4,),
    (2, 3),
    (3, 4),
    (2, 3, 4),
  ]
  numbers = drop.stretches(range(24))
  assert len(numbers) == 21 and numbers[0] == (0, 1, 2, 3)
  assert numbers[-1] == tuple(range(24)) and len(set(numbers)) == 21


def test_accuracy_is_of_each_family_and_subset(tmp_path, monkeypatch):
  """Families answer rightly where the layer that they need still looks."""

  need = {'paper': 5, 'read': 2, 'same': 2}

  def answers(under_test, stream, count, selection, folder, options, score):
    seeing = under_test.model.layout.indices(S)
    return [
      dict(family=f, score=float(need[f] in seeing or f == 'paper'))
      for f in need
      for _ in range(2)
    ]

  monkeypatch.setattr(eval_run, 'answers', answers)
  monkeypatch.setattr(drop, 'PARTS', 3)
  suite = types.SimpleNamespace(group={'paper': 'coarse'}.get)
  under_test = eval_run.ModelUnderTest(
    rows.tiny(plans.visor(6)), {}, None, suite
  )
  numbers = drop.measure(
    under_test,
    plans.Selection('base'),
    6,
    tmp_path,
    types.SimpleNamespace(score='exact'),
  )
  for layers, read in zip(numbers['dropped'], numbers['accuracy']['read']):
    assert read == float(2 not in layers)
  assert numbers['accuracy']['paper'] == [1.0] * len(numbers['dropped'])
  assert numbers['constant'] == ['paper'] and numbers['correlation'] is None


def test_families_that_respond_alike_are_one_cluster():
  """Two kinds of response, noise, and one family that the suite calls fine."""
  rng = np.random.default_rng(0)
  late = np.array([1, 1, 0.9, 0.9, 0.8, 0.4])
  early = np.array([1, 0.3, 0.2, 0.9, 1, 0])
  noisy = lambda x: (x + 0.02 * rng.standard_normal(6)).tolist()
  response = dict(
    a=noisy(early),
    b=noisy(late),
    c=noisy(early),
    d=noisy(late),
    e=noisy(late),
    f=[0.5] * 6,
  )
  groups = dict(a='fine', b='coarse', c='fine', d='coarse', e='fine', f='fine')
  numbers = clusters.compare(response, groups)
  assert numbers['constant'] == ['f'] and set(numbers['families']) == set(
    'abcde'
  )
  assert numbers['split'] == dict(
    a='fine', c='fine', b='coarse', d='coarse', e='coarse'
  )
  assert numbers['agreement'] == 0.8
  correlation = dict(zip(numbers['families'], numbers['correlation']))
  assert correlation['a'][numbers['families'].index('c')] > 0.95
  assert correlation['a'][numbers['families'].index('b')] < 0.9
  few = {f: r[:3] for f, r in response.items()}
  assert clusters.compare(few, groups)['correlation'] is None
  # In the order of the leaves a cluster's families are neighbours.
  named = ''.join('c' if f in 'ac' else 'o' for f in numbers['families'])
  assert named in ('ccooo', 'ooocc')

"""Attention shares where the answer is known."""

import jax
import numpy as np
import pytest

from tests import rows
from visor_jax.analysis import attention
from visor_jax.analysis import layerwise
from visor_jax.spec import plan as plans

S, T, C = plans.SELF, plans.TEXT, plans.CROSS
MODEL = rows.tiny(plans.Layout((T, S, C), (1,)))
PLAN = (True,)
KINDS = MODEL.layout.fix(PLAN)
# Places: t0 t1 v2 v3 v4 v5 t6 p7 a8 a9; then a row without an image.
BATCH = rows.batch(('ttvvvvtpaa',), ('ttpa',))
SHARES = rows.jit(lambda params: attention.shares(MODEL, params, BATCH, KINDS))


def changed(params, **factors):
  """Parameters whose leaves of these names are multiplied."""

  def one(path, x):
    return x * factors.get(path[-1].key, 1)

  return jax.tree_util.tree_map_with_path(one, params)


@pytest.fixture(scope='module')
def uniform():
  """No query says anything, and nothing is read in CROSS."""
  params = changed(rows.params(MODEL), query=0, query_bias=0)
  params['llm']['cross']['out'] = 0 * params['llm']['cross']['out']
  return np.asarray(SHARES(params))


def test_uniform_attention_goes_where_tokens_are(uniform):
  text, self_, cross = uniform[0, :, :3]
  np.testing.assert_allclose(
    self_,
    [
      np.mean([4 / 7, 4 / 8]),  # of t6 and p7
      np.mean([4 / 8, 4 / 9, 4 / 10]),  # of p7, a8, a9
      np.mean([4 / 8, 4 / 9, 4 / 10]),
    ],
    rtol=1e-5,
  )  # t0, t1, t6, p7
  np.testing.assert_allclose(
    text, [0, 0, np.mean([1, 4 / 5, 4 / 6])], rtol=1e-5
  )
  np.testing.assert_allclose(cross, [1, 1, text[2]], rtol=1e-5)


def test_what_is_taken_is_of_the_image_alone(uniform):
  taken = uniform[0, :, attention.SHARES.index('read')]
  assert taken[1] > 0 and taken[0] == taken[2] == 0
  params = changed(rows.params(MODEL), value=0, value_bias=0)
  values = np.asarray(SHARES(params))
  assert (values[0, :, -1] == 0).all()
  values = np.asarray(SHARES(rows.params(MODEL)))
  assert values[0, 2, -1] > 0 and (values[0, :, :3] <= 1).all()


def test_a_row_without_an_image_does_not_count(uniform):
  assert np.isnan(uniform[1]).all()
  values, n = layerwise.means(
    uniform, ['a', 'b'], {'a': 'fine', 'b': 'coarse'}.get
  )
  np.testing.assert_array_equal(values['a'], uniform[0])
  np.testing.assert_array_equal(values['fine'], uniform[0])
  assert np.isnan(values['b']).all() and n == {'a': 1, 'b': 1}
  assert layerwise.plain(values)['b'] == [[None] * 4] * 3


def test_layer_by_layer_is_the_model():
  """What is looked at is what the model computes."""

  def both(model, batch):
    *_, (_, stream, _) = layerwise.hidden_states_by_layer(model, batch, KINDS)
    return stream.text, model.hidden(batch, PLAN)

  got, want = rows.jit(
    lambda params: MODEL.apply({'params': params}, BATCH, method=both)
  )(rows.params(MODEL))
  rows.close(got[0, :6], want[0, :6])


def test_an_answer_stands_behind_its_prompt():
  batch = rows.batch(('tvvtp',), ('tvp',), ('tvp',), shape=rows.Shape(text=5))
  answers = np.array([[7, 8, 9, 1], [5, 1, 1, 1], [2, 3, 4, 5]])
  full = attention.answered(batch, answers, (1,))
  # 7, 8 and 9 were said; from 9 nothing but the end is predicted.
  assert full.tokens[0, 3:].tolist() == [7, 8]
  assert full.answer[0].tolist() == [False] * 3 + [True] * 2
  assert full.text_place[0].tolist() == [0, 3, 4, 5, 6]
  assert full.text_segment[0].tolist() == [1] * 5
  assert not full.answer[1].any() and full.tokens[2, 2:].tolist() == [2, 3, 4]
  assert not batch.answer.any()  # the caller's own is as it was

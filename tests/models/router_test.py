"""The router looks on: it changes nothing, and reads its own prompt alone."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import rows
from visor_jax.models import router
from visor_jax.spec import architecture
from visor_jax.spec import plan as plans

TOKENS = pytest.mark.parametrize('token', architecture.ROUTER_TOKENS)
PLANS = [np.array(plan) for plan in plans.visor(6).plans]
SHAPE = rows.Shape(text=16, visual=8, tiles=2, prompts=4)
batch = functools.partial(rows.batch, shape=SHAPE)
# Two prompts in one conversation, a short one, one without an image.
SEGMENTS = ('ttvvvtpaatpa', 'vvtpa', 'tpaa')
PACKED = batch(SEGMENTS, SEGMENTS[::-1], ())


def tiny(token):
  """Two layers stand before the router: TEXT, then CROSS."""
  return rows.tiny(
    plans.visor(6),
    chunk=8,
    router_options=dataclasses.replace(rows.ROUTER, token=token),
  )


@functools.cache
def program(token):
  model = tiny(token)

  def both(params, batch, bits):
    scores, stream = model.apply({'params': params}, batch, method='route')
    return scores, model.apply(
      {'params': params}, stream, bits, method=rows.finish
    )

  return rows.jit(both)


def run(token, batch, plan=PLANS[0], params=None):
  """Scores and logits of route() and of what follows it."""
  return program(token)(params or rows.params(tiny(token)), batch, plan)


def scores(token, batch):
  """(segment's row and number, which of its prompts) -> scores."""
  by_prompt = {}
  for row, all_scores in enumerate(run(token, batch)[0]):
    for number in range(1, batch.prompt_segment[row].max() + 1):
      at = np.flatnonzero(batch.prompt_segment[row] == number)
      for i, prompt in enumerate(at):
        by_prompt[row, number, i] = np.asarray(all_scores[prompt])
  return by_prompt


def until(figure, prompt):
  """The figure up to the end of that prompt, holding what the whole holds."""
  end = -1
  for _ in range(prompt + 1):
    end = figure.index('p', end + 1)
  return rows.same(figure, figure[: end + 1])


@TOKENS
def test_route_then_finish_is_the_model(token):
  """Whatever the routing token is, the answer does not notice."""
  there = PACKED.text_segment > 0
  for plan in PLANS:
    got = run(token, PACKED, plan)[1]
    want = rows.logits(tiny('learned'))(
      rows.params(tiny('learned')), PACKED, plan
    )
    rows.close(got[there], want[there])


@TOKENS
def test_the_routers_weights_change_scores_only(token):
  """To the last bit, in route() and finish() as in the model itself."""
  params = rows.params(tiny(token))
  other = params | {'router': jax.tree.map(lambda x: x + 1, params['router'])}
  before, after = (run(token, PACKED, PLANS[3], p) for p in (params, other))
  assert np.array_equal(before[1], after[1])
  assert np.abs(before[0] - after[0]).max() > 0.1
  logits = [
    rows.logits(tiny('learned'))(p, PACKED, PLANS[3]) for p in (params, other)
  ]
  assert np.array_equal(*logits)


def test_the_learned_token_is_read_where_it_is_the_routers():
  """The test above moves all weights at once; the token alone does something,
  and does nothing where another token is read."""
  changed = {}
  for token in architecture.ROUTER_TOKENS:
    params = rows.params(tiny(token))
    other = params | {
      'router': params['router'] | {'token': -params['router']['token']}
    }
    a, b = (run(token, PACKED, params=p)[0] for p in (params, other))
    changed[token] = not np.array_equal(a, b)
  assert changed == {'learned': True, 'last': False, 'visual': False}


@TOKENS
def test_a_prompt_in_a_packed_row_equals_the_prompt_alone(token):
  """Alone: nothing before it, nothing behind it, no other prompt."""
  got = scores(token, PACKED)
  for (row, number, prompt), packed in got.items():
    figure = (SEGMENTS if row == 0 else SEGMENTS[::-1])[number - 1]
    alone = scores(token, batch((until(figure, prompt),), (), ()))
    rows.close(packed, alone[0, 1, prompt])
  assert len(got) == 8


@TOKENS
def test_prompts_differ(token):
  """A router that reads nothing would pass the test above."""
  different = scores(token, PACKED)
  different = [different[0, 1, 0], different[0, 2, 0], different[0, 3, 0]]
  for i in range(3):
    assert np.abs(different[i] - different[i - 1]).max() > 1e-2


def test_a_routing_token_reads_a_self_layer_before_it():
  """Text and image of its own prompt, in a row and alone."""
  layout = plans.Layout(('self', 'cross', 'self'), optional=(2,))
  model = rows.tiny(layout, chunk=8)

  @rows.jit
  def score(params, batch):
    return model.apply({'params': params}, batch, method='route')[0]

  params = rows.params(model)
  packed = score(params, PACKED)
  alone = score(params, batch((until(SEGMENTS[0], 0),), (), ()))
  rows.close(packed[0, 0], alone[0, 0])
  other = dataclasses.replace(PACKED, tiles=np.flip(PACKED.tiles, axis=2))
  assert np.abs(score(params, other) - packed)[0, 0].max() > 1e-3


@TOKENS
def test_what_follows_a_prompt_does_not_matter(token):
  """Bitwise: the answer, and what comes after it, is masked away."""
  tokens = PACKED.tokens.copy()
  end = np.flatnonzero(PACKED.text_place[0] == PACKED.prompt_place[0, 0])[0]
  tokens[0, end + 1 : 9] = (tokens[0, end + 1 : 9] + 1) % 40
  changed = dataclasses.replace(PACKED, tokens=tokens)
  before, after = scores(token, PACKED), scores(token, changed)
  assert np.array_equal(before[0, 1, 0], after[0, 1, 0])
  # The second prompt of that conversation comes after the answer.
  assert np.array_equal(before[0, 1, 1], after[0, 1, 1]) == (token == 'visual')
  assert np.array_equal(before[0, 2, 0], after[0, 2, 0])


@TOKENS
def test_an_image_after_the_prompt_does_not_matter(token):
  """It belongs to a later turn of the same conversation."""
  figure = 'tvvtpaavvtpa'
  both_turns = scores(token, batch((figure,), (), ()))
  first = scores(token, batch((until(figure, 0),), (), ()))
  rows.close(both_turns[0, 1, 0], first[0, 1, 0])


@TOKENS
def test_scores_train_the_router_alone(token):
  """Gradients stop nowhere by themselves (freezing is by path), but they do
  reach every weight of the router that is used, and are finite."""
  model = tiny(token)

  def loss(weights, params):
    scores, _ = model.apply(
      {'params': params | {'router': weights}}, PACKED, method='route'
    )
    there = PACKED.prompt_segment > 0
    return -jnp.sum(jnp.where(there, jax.nn.log_softmax(scores)[..., 0], 0))

  params = rows.params(model)
  grads = rows.jit(jax.grad(loss))(params['router'], params)
  for name, g in grads.items():
    g = jax.tree.leaves(g)[0]
    assert np.isfinite(g).all()
    assert g.any() == (name != 'token' or token == 'learned'), name


# From scores to plans ---------------------------------------------------------


def test_choose():
  """Probabilities .1 .2 .3 .4: cumulative .1 .3 .6 1."""
  scores = np.log(np.array([[0.1, 0.2, 0.3, 0.4, 9.0]]))

  def pick(confidence, viable=4):
    return int(router.choose(scores, viable, confidence)[0])

  assert [pick(c) for c in (0.05, 0.2, 0.5, 0.9, 1)] == [0, 1, 2, 3, 3]
  assert pick(None) == 3
  assert pick(None, viable=3) == 2  # what is not viable has no probability
  assert pick(0.55, viable=3) == 2  # .1 .2 .3 of .6
  assert pick(0.45, viable=3) == 1

"""Fewer visual tokens: nothing else moves, each goes on with what is left."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import rows
from visor_jax.eval import costs
from visor_jax.flops import cost as flops
from visor_jax.models import attention_arrays
from visor_jax.models import layers
from visor_jax.models import positions
from visor_jax.spec import plan as plans

LAYOUT = plans.visor(3)
SHAPE = rows.Shape(text=10, visual=10, tiles=2, prompts=3)
A, B = 'tvvvvtp', 'vvtvvvvtpa'
EARLY = (
  'visionzip:1/2',
  'vispruner:1/2',
  'pack:2',
  'm3:2',
  'divprune:1/2',
  'random:1/2',
  'hired:1/2',
)
BASE_ONLY = ('fastv:2:1/2', 'pyramiddrop:1/2', 'sparsevlm:0-1:1/2,1/2')


def model(text, **kwargs):
  return rows.tiny(LAYOUT, reduction=text, **kwargs)


def logits(text, plan, batch, **kwargs):
  m = model(text, **kwargs)
  return np.asarray(rows.logits(m, plan)(rows.params(m), batch))


@pytest.mark.parametrize(
  'text,plan',
  [
    ('visionzip:1', rows.BASE),
    ('vispruner:1', (True,)),
    ('pack:1', rows.BASE),
    ('divprune:1', rows.BASE),
    ('random:1', rows.BASE),
    ('fastv:1:1', rows.BASE),
    ('pyramiddrop:1', rows.BASE),
    ('sparsevlm:1:1', rows.BASE),
  ],
)
def test_all_of_the_tokens_are_what_there_was(text, plan):
  batch = rows.batch((A, B), shape=rows.Shape(18, 12, 2, 3))
  there = batch.text_segment > 0
  got, want = (logits(t, plan, batch)[there] for t in (text, ''))
  np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


@pytest.mark.parametrize('text', EARLY + BASE_ONLY)
def test_packed_is_alone(text):
  """And fewer tokens are another result."""
  plan = rows.BASE if text in BASE_ONLY else (True,)
  depth = 1 if text == EARLY[0] else 0  # attention of a tower, too
  packed = rows.batch((A, B), shape=rows.Shape(18, 12, 2, 3), noise=5)
  alone = rows.batch((A,), (B,), shape=rows.Shape(18, 12, 2, 3), noise=9)
  both = logits(
    text,
    plan,
    jax.tree.map(lambda *x: np.concatenate(x), packed, alone),
    vision_depth=depth,
  )
  for number, length in ((1, 3), (2, 4)):
    got = both[rows.text(packed, 0, number)]
    want = both[1:][rows.text(alone, number - 1, 1)]
    assert len(got) == length
    np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max())
  if depth == 0:
    all_tokens = logits('', plan, alone)[rows.text(alone, 0, 1)]
    assert np.abs(all_tokens - both[1:][rows.text(alone, 0, 1)]).max() > 1e-2


def test_what_inside_keeps_is_what_the_prompt_looks_at():
  """The row of attention against the layer's own, over all tokens."""
  m = model('')
  batch = rows.batch((A, B), shape=rows.Shape(18, 12, 2, 3))

  def rate(module, batch):
    stream, at = module.prepare_inputs(batch)
    return module.llm.rate(stream, at, 1), stream, at

  rated, stream, at = rows.jit(
    lambda p: m.apply({'params': p}, batch, method=rate)
  )(rows.params(m))
  parameters = jax.tree.map(lambda x: x[1], rows.params(m)['llm']['layers'])
  both = jnp.concatenate([stream.text, stream.visual], axis=1)
  layer = layers.Layer(m.size.language).bind({'params': parameters})
  query, key, _ = layer.qkv(
    positions.permute(both, at.order, at.place), at.merged_position
  )
  weights = attention_arrays.shares(query, key, at.merged, at.merged)
  for number, segment in enumerate((1, 2)):
    asks = batch.prompt_place[0, number]
    mine = np.flatnonzero(batch.visual_segment[0] == segment)
    np.testing.assert_allclose(
      rated[0, mine],
      weights[0, asks, batch.visual_place[0, mine]],
      rtol=1e-5,
    )


@pytest.mark.parametrize('text', ['fastv:2:1/2', 'pack:2'])
def test_tokens_from_a_cache_are_those_of_the_whole(text):
  """Behind the prompt, by the caches of layers that saw fewer tokens."""
  m, answer = model(text), 'tvvvvtpaaa'
  conversation = rows.batch((answer,), shape=SHAPE)
  prompt = rows.batch((rows.same(answer, answer[:7]),), shape=SHAPE)
  want = logits(text, rows.BASE, conversation)[0]
  params, fresh = (
    rows.params(m),
    m.apply({'params': rows.params(m)}, 1, 3, method='init_decode_cache'),
  )
  prefill = rows.jit(
    lambda p: m.apply({'params': p}, prompt, None, method='prefill')
  )
  decode = rows.jit(
    lambda p, token, memory, fresh, i: m.apply(
      {'params': p}, token, memory, None, fresh, i, method='decode'
    )
  )
  of_token, memory = prefill(params)
  np.testing.assert_allclose(of_token[0], want[2], atol=1e-4)
  for i in range(3):
    of_token, fresh = decode(
      params, conversation.tokens[:, 3 + i], memory, fresh, i
    )
    np.testing.assert_allclose(of_token[0], want[3 + i], atol=1e-4)
  assert costs.cache_bytes(memory) == flops.cache(
    m.architecture, None, SHAPE.visual, SHAPE.text, 4
  )


@pytest.mark.parametrize('text', ['pack:2', 'm3:2'])
def test_what_is_averaged_learns(text):
  """An average hands its gradient to every token in it."""
  batch = rows.batch(('tvvtpaa',), shape=SHAPE)  # no newline
  gradients = [
    rows.run(model(t), rows.BASE)(rows.params(model(t)), batch)[1]
    for t in (text, '')
  ]
  for fewer, all_tokens in zip(*map(jax.tree.leaves, gradients)):
    assert np.isfinite(fewer).all()
    assert (np.abs(all_tokens).max() > 0) == (np.abs(fewer).max() > 0)


def test_the_router_goes_on_with_what_is_left():
  """route() and resume() are prefill(); its token looks at what is left."""
  m = model('pack:2')
  batch = rows.batch((A,), ('tvtvp',), shape=SHAPE)

  def apply(method, *args):
    return m.apply({'params': rows.params(m)}, *args, method=method)

  def both():
    scores, routed = apply('route', batch)
    return (
      scores,
      apply('prefill_after_route', routed, batch, (True,)),
      apply('prefill', batch, (True,)),
    )

  scores, resumed, prefilled = rows.jit(both)()
  assert resumed[1].token_layouts[0].visual.place.shape == (
    2,
    SHAPE.visual // 2,
  )
  np.testing.assert_allclose(resumed[0], prefilled[0], atol=1e-5)
  unpacked = model('')
  other = rows.jit(
    lambda: unpacked.apply({'params': rows.params(m)}, batch, method='route')[0]
  )()
  assert np.abs(scores - other)[:, 0].max() > 1e-3


@pytest.mark.parametrize('text', BASE_ONLY)
def test_inside_goes_with_the_base_alone(text):
  m = model(text)
  for method, args in (('__call__', ((True,),)), ('route', ())):
    with pytest.raises(ValueError, match='plan base alone'):
      jax.eval_shape(
        lambda p: m.apply(
          {'params': p}, rows.batch((A,), shape=SHAPE), *args, method=method
        ),
        rows.params(m),
      )

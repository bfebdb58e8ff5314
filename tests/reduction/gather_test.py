"""Which visual tokens stay, and that nothing else moves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import rows
from visor_jax.eval import costs
from visor_jax.flops import cost as flops
from visor_jax.models import attention
from visor_jax.models import decoder
from visor_jax.models import token_layout
from visor_jax.models import vision
from visor_jax.reduction import gather
from visor_jax.reduction import grammar
from visor_jax.spec import plan as plans

one = lambda text: grammar.parse(text)[0]


def early(
  text,
  segment,
  place,
  attention_=None,
  keys=None,
  grid=(2, 2),
  visual=None,
  gather_index=None,
):
  """Calls reduce.early on one row whose slots are patches in order.

  Returns:
    the values that stay, and the slots they stand in; a slot's value is its
    number.
  """
  v = len(segment)
  tiles = -(-v // (grid[0] * grid[1]))
  patches = tiles * grid[0] * grid[1]
  fill = lambda x, shape: (
    np.zeros(shape, np.float32)
    if x is None
    else (
      np.pad(
        np.asarray(x, np.float32)[None],
        [(0, 0), (0, patches - v)] + [(0, 0)] * (np.ndim(x) - 1),
      )
    )
  )
  rated = gather.PatchRating(
    fill(attention_, (1, patches)), fill(keys, (1, patches, 2))
  )
  if visual is None:
    visual = np.arange(v, dtype=np.float32)[:, None]
  source = np.arange(v) if gather_index is None else np.asarray(gather_index)
  slots = attention.Slots(
    *(np.asarray(x, np.int32)[None] for x in (segment, place))
  )
  run = rows.jit(
    lambda *args: gather.reduce_visual(one(text), *args, tiles, grid)
  )
  out, kept = run(
    np.asarray(visual, np.float32)[None],
    rated,
    slots,
    source[None, :, None].astype(np.int32),
    np.ones((1, v, 1), np.float32),
  )
  valid = np.asarray(kept.valid[0])
  return np.asarray(out[0])[valid], np.asarray(kept.index[0])[valid].tolist()


# Kept tokens are the right ones -----------------------------------------------


def test_neighbours_are_packed_in_their_image():
  """Two images with text between, then padding: 5 tokens are 2 packs."""
  values, at = early('pack:2', [1] * 9 + [0], [0, 1, 2, 3, 4, 7, 8, 9, 10, 11])
  assert at == [0, 2, 5, 7]
  np.testing.assert_allclose(values[:, 0], [0.5, 3, 5.5, 7.5])


def test_windows_of_a_tile_are_pooled():
  """Tiles of 2 x 3 patches in windows of 2: two and one column; no newline."""
  source = [0, 1, 2, 12, 3, 4, 5, 6, 7, 9]  # 12 is a newline, 8 was cut off
  values, at = early(
    'm3:2', [1] * 10, range(10), grid=(2, 3), gather_index=source
  )
  assert at == [0, 2, 7]
  np.testing.assert_allclose(
    values[:, 0], [(0 + 1 + 4 + 5) / 4, (2 + 6) / 2, (7 + 8 + 9) / 3]
  )


def test_a_window_of_the_whole_tile_leaves_one_token():
  values, at = early('m3:24', [1] * 8 + [0], range(9))
  assert at == [0, 4]
  np.testing.assert_allclose(values[:, 0], [1.5, 5.5])


def test_visionzip_keeps_the_seen_and_averages_the_rest():
  """Of 8 tokens 4: three seen most, and one average of the others."""
  keys = np.random.default_rng(0).normal(size=(8, 2))
  seen = [0.1, 0.9, 0.3, 0.2, 0.8, 0.1, 0.7, 0.0]
  values, at = early('visionzip:1/2', [1] * 8, range(8), seen, keys)
  assert at == [0, 1, 4, 6]
  np.testing.assert_allclose(values[:, 0], [(0 + 2 + 3 + 5 + 7) / 5, 1, 4, 6])


def test_visionzip_merges_with_what_is_alike():
  """Of 16 tokens 12: ten dominant, two averages that start 3 apart."""
  keys = np.array([[1.0, 0]] * 16)
  keys[[13, 14]] = 0, 1
  seen = np.where(np.arange(16) < 10, 1 - np.arange(16) / 100, 0)
  values, at = early('visionzip:3/4', [1] * 16, range(16), seen, keys)
  assert at == [*range(10), 10, 13]
  np.testing.assert_allclose(values[-2:, 0], [(10 + 11 + 12 + 15) / 4, 13.5])


def test_vispruner_keeps_the_seen_and_the_different():
  """Of six tokens four: two seen, and of four the two that differ.

  20 degrees go, being next to 21; then these, as nearer to 60 than 150 are.
  """
  angle = np.array([0.0, 10, 20, 21, 60, 150]) * np.pi / 180
  visual = np.stack([np.cos(angle), np.sin(angle)], axis=1)
  seen = [0.9, 0.8, 0.1, 0.2, 0.1, 0.1]
  values, at = early('vispruner:2/3', [1] * 6, range(6), seen, visual=visual)
  assert at == [0, 1, 4, 5]
  np.testing.assert_allclose(values, visual[[0, 1, 4, 5]], atol=1e-6)


@pytest.mark.parametrize('method', ['visionzip', 'vispruner'])
def test_a_share_is_one_of_each_image(method):
  """However much more one is looked at than the other."""
  segment = [1] * 8 + [2] * 4 + [0] * 2
  seen = np.arange(14) / 14
  keys = np.random.default_rng(0).normal(size=(14, 2))
  visual = np.random.default_rng(1).normal(size=(14, 3))
  _, at = early(f'{method}:1/2', segment, range(14), seen, keys, visual=visual)
  assert sum(i < 8 for i in at) == 4 and len(at) == 6
  assert 7 in at and 11 in at  # the most looked at of each


def test_the_highest_of_each_conversation_stay():
  run = rows.jit(
    functools.partial(gather.highest, keep=one('fastv:1:1/2').keep)
  )
  kept = run(
    np.float32([[3, 1, 2, 3, 9, 5, 5, 5, 99]]),
    np.int32([[1, 1, 1, 1, 2, 4, 4, 4, 0]]),
  )
  assert kept.index[0][kept.valid[0]].tolist() == [0, 3, 5]
  assert kept.index.shape == (1, 4)


# The model --------------------------------------------------------------------

LAYOUT = plans.visor(3)
SHAPE = rows.Shape(text=10, visual=10, tiles=2, prompts=3)
A, B = 'tvvvvtp', 'vvtvvvvtpa'
EARLY = ('visionzip:1/2', 'vispruner:1/2', 'pack:2', 'm3:2')
BASE_ONLY = ('fastv:2:1/2', 'pyramiddrop:1/2')


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
    ('fastv:1:1', rows.BASE),
    ('pyramiddrop:1', rows.BASE),
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
    whole = logits('', plan, alone)[rows.text(alone, 0, 1)]
    assert np.abs(whole - both[1:][rows.text(alone, 0, 1)]).max() > 1e-2


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
  own = jax.tree.map(lambda x: x[1], rows.params(m)['llm']['layers'])
  both = jnp.concatenate([stream.text, stream.visual], axis=1)
  layer = decoder.layers.Layer(m.size.language).bind({'params': own})
  query, key, _ = layer.qkv(
    token_layout.permute(both, at.order, at.place), at.position
  )
  weights = attention.shares(query, key, at.merged, at.merged)
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
  whole = rows.batch((answer,), shape=SHAPE)
  prompt = rows.batch((rows.same(answer, answer[:7]),), shape=SHAPE)
  want = logits(text, rows.BASE, whole)[0]
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
  found, memory = prefill(params)
  np.testing.assert_allclose(found[0], want[2], atol=1e-4)
  for i in range(3):
    found, fresh = decode(params, whole.tokens[:, 3 + i], memory, fresh, i)
    np.testing.assert_allclose(found[0], want[3 + i], atol=1e-4)
  assert costs.cache_bytes(memory) == flops.cache(
    m.architecture, None, SHAPE.visual, SHAPE.text, 4
  )


@pytest.mark.parametrize('text', ['pack:2', 'm3:2'])
def test_what_is_averaged_learns(text):
  """An average hands its gradient to every token in it."""
  batch = rows.batch(('tvvtpaa',), shape=SHAPE)  # no newline
  found = [
    rows.run(model(t), rows.BASE)(rows.params(model(t)), batch)[1]
    for t in (text, '')
  ]
  for mine, whole in zip(*map(jax.tree.leaves, found)):
    assert np.isfinite(mine).all()
    assert (np.abs(whole).max() > 0) == (np.abs(mine).max() > 0)


def test_the_router_goes_on_with_what_is_left():
  """route() and resume() are prefill(); its token looks at what is left."""
  m = model('pack:2')
  batch = rows.batch((A,), ('tvtvp',), shape=SHAPE)
  apply = lambda method, *args: m.apply(
    {'params': rows.params(m)}, *args, method=method
  )

  def both():
    scores, routed = apply('route', batch)
    return (
      scores,
      apply('prefill_after_route', routed, batch, (True,)),
      apply('prefill', batch, (True,)),
    )

  scores, resumed, whole = rows.jit(both)()
  assert resumed[1].rows[0].visual.place.shape == (2, SHAPE.visual // 2)
  np.testing.assert_allclose(resumed[0], whole[0], atol=1e-5)
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


def test_a_patch_is_rated_by_the_attention_it_gets():
  """Against all scores at once, which a real tile has no room for."""
  query = np.random.default_rng(0).normal(size=(2, 3, 5, 2, 4)).astype('f')
  key = 0.7 * query[::-1]
  scores = np.einsum('bipnh,biqnh->binpq', query, key) / 2
  weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
  np.testing.assert_allclose(
    rows.jit(vision.received)(query, key), weights.mean((2, 3)), rtol=1e-5
  )

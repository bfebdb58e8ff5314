"""The whole model against a plain one, and rows against segments alone."""

import dataclasses
import functools

import jax
from jax import numpy as jnp
import numpy as np
import pytest

from tests import rows
from visor_jax.models import cross_attention
from visor_jax.spec import architecture
from visor_jax.spec import plan as plans

# Mixed rows: text, image, text; text alone; an image first; padding in both
# streams, a row of padding only.
MIXED = (('ttvvvvtpaa', 'tpa'), ('vvtpa',), ())


def plain(params, batch, kinds, size, options=architecture.CrossOptions()):
  """The paper in the plainest words: one segment at a time, nothing packed.

  Written from the descriptions of SigLIP, Qwen2 and VISOR, with no module of
  the model; `kinds` is a string of T, C and S. Logits of padding are zero.
  """
  p, language = params['llm'], size.language
  n, eps = language.heads, language.norm_eps

  def norm(x, scale):
    return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + eps) * scale

  def rotate(x, at):
    h = x.shape[-1]
    angle = np.outer(at, language.rope_theta ** (-np.arange(0, h, 2) / h))
    angle = np.concatenate([angle, angle], -1)[:, None]
    turned = jnp.concatenate([-x[..., h // 2 :], x[..., : h // 2]], -1)
    return x * np.cos(angle) + turned * np.sin(angle)

  def softmax(query, key, value, sees):
    """Every query head has keys of its own; who sees nothing gets nothing."""
    share = np.arange(n) // (n // key.shape[1])
    score = jnp.einsum('qnh,knh->nqk', query, key[:, share])
    score = score / np.sqrt(query.shape[-1])
    e = jnp.where(sees, jnp.exp(jnp.where(sees, score, 0)), 0)
    weight = e / jnp.maximum(e.sum(-1, keepdims=True), 1e-30)
    return jnp.einsum('nqk,knh->qnh', weight, value[:, share])

  def project(x, w, name):
    return jnp.tensordot(x, w[name], 1) + w[name + '_bias']

  def layer(x, at, w):
    a, m = w['attention'], w['mlp']
    y = norm(x, w['attention_norm']['scale'])
    query, key, value = (project(y, a, i) for i in ('query', 'key', 'value'))
    y = softmax(
      rotate(query, at), rotate(key, at), value, at[:, None] >= at[None, :]
    )
    x = x + jnp.tensordot(y, a['out'], 2)
    y = norm(x, w['mlp_norm']['scale'])
    return x + (jax.nn.silu(y @ m['gate']) * (y @ m['up'])) @ m['down']

  def read(text, visual, text_at, visual_at, w):
    if options.conv:
      wide = jnp.pad(visual, ((3, 3), (0, 0)))
      visual = visual + sum(
        wide[i : i + len(visual)] * w['conv'][i] for i in range(7)
      )
    if options.norm:
      text = norm(text, w['text_norm']['scale'])
      visual = norm(visual, w['visual_norm']['scale'])
    query, key, value = (
      project(x, w, i)
      for x, i in ((text, 'query'), (visual, 'key'), (visual, 'value'))
    )
    if options.rope:
      query, key = rotate(query, text_at), rotate(key, visual_at)
    return jnp.tensordot(
      softmax(query, key, value, text_at[:, None] >= visual_at[None, :]),
      w['out'],
      2,
    )

  def one(tokens, visual, text_at, visual_at):
    text, crosses = p['embedding'][tokens], 0
    at = np.concatenate([text_at, visual_at])
    order = np.argsort(at)
    for i, kind in enumerate(kinds):
      w = jax.tree.map(lambda x: x[i], p['layers'])
      if kind == 'S':
        both = jnp.concatenate([text, visual])[order]
        both = layer(both, at[order], w)[np.argsort(order)]
        text, visual = both[: len(tokens)], both[len(tokens) :]
      else:
        if kind == 'C':
          c = jax.tree.map(lambda x: x[crosses], p['cross'])
          text = text + read(text, visual, text_at, visual_at, c)
          crosses += 1
        text = layer(text, text_at, w)
    head = p['embedding'].T if language.tied else p['head']
    return norm(text, p['norm']['scale']) @ head

  logits = jnp.zeros((*batch.tokens.shape, language.vocabulary))
  images = see(params, batch.tiles, size.vision)
  for row in range(len(logits)):
    images_and_newline = jnp.concatenate(
      [images[row], params['connector']['newline'][None]]
    )
    for number in range(1, batch.text_segment[row].max() + 1):
      t, v = (
        np.flatnonzero(x[row] == number)
        for x in (batch.text_segment, batch.visual_segment)
      )
      places = batch.text_place[row, t], batch.visual_place[row, v]
      start = min(np.concatenate(places))
      visual = (
        images_and_newline[batch.gather_index[row, v]]
        * batch.gather_weight[row, v, :, None]
      ).sum(1)
      logits = logits.at[row, t].set(
        one(batch.tokens[row, t], visual, *(at - start for at in places))
      )
  return logits


def see(params, tiles, size):
  """SigLIP and the projector: uint8 [B, I, h, w, 3] -> [B, I * P, D]."""
  p, side = params['vision'], size.patch
  pixels = (tiles / 255.0 - 0.5) / 0.5
  cut = [
    pixels[:, :, r : r + side, c : c + side].reshape(*tiles.shape[:2], -1)
    for r in range(0, size.tile[0] - side + 1, side)
    for c in range(0, size.tile[1] - side + 1, side)
  ]
  x = jnp.stack(cut, 2) @ p['patch'] + p['patch_bias'] + p['position']

  def norm(x, w):
    x = x - x.mean(-1, keepdims=True)
    x = x / jnp.sqrt((x * x).mean(-1, keepdims=True) + size.norm_eps)
    return x * w['scale'] + w['bias']

  for i in range(size.depth):
    w = jax.tree.map(lambda x: x[i], p['layers'])
    y = norm(x, w['attention_norm'])
    query, key, value = (
      jnp.tensordot(y, w[name], 1) + w[name + '_bias']
      for name in ('query', 'key', 'value')
    )
    score = jnp.einsum('bipnh,biqnh->binpq', query, key)
    score = jax.nn.softmax(score / np.sqrt(query.shape[-1]), -1)
    y = jnp.einsum('binpq,biqnh->bipnh', score, value)
    x = x + jnp.tensordot(y, w['out'], 2) + w['out_bias']
    y = norm(x, w['mlp_norm']) @ w['up'] + w['up_bias']
    tanh = jnp.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3))
    x = x + 0.5 * y * (1 + tanh) @ w['down'] + w['down_bias']
  c = params['connector']
  x = x @ c['in'] + c['in_bias']
  x = 0.5 * x * (1 + jax.lax.erf(x / np.sqrt(2))) @ c['out'] + c['out_bias']
  return x.reshape(len(tiles), -1, x.shape[-1])


def compare(model, kinds, plan, bits=None, rows_=MIXED):
  """Logits and gradients of model and plain model, on the mixed rows."""
  batch, params = rows.batch(*rows_), rows.params(model)
  there = (batch.text_segment > 0)[..., None]

  def both(params):
    logits = plain(params, batch, kinds, model.size, model.architecture.cross)
    return rows.answer_loss(logits, batch), logits

  (_, want), want_grads = rows.jit(jax.value_and_grad(both, has_aux=True))(
    params
  )
  got, grads = rows.run(model, plan)(params, batch, bits)
  rows.close(got * there, want)
  rows.close(grads, want_grads)
  return grads


@pytest.mark.parametrize('tied', [True, False])
def test_base_is_the_base_model(tied):
  """With SELF everywhere the model is Qwen2 on SigLIP, and can be trained so:
  every parameter of it has the same gradient, CROSS and router none."""
  model = rows.tiny(plans.visor(3), tied=tied, vision_depth=2 if tied else 0)
  turns = (('tvvtpaavtpa',), *MIXED[1:]) if tied else MIXED
  grads = compare(model, 'SSS', rows.BASE, rows_=turns)
  for path, g in jax.tree_util.tree_leaves_with_path(grads):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    idle = name.startswith(('llm/cross', 'router'))
    # A key's bias in SigLIP (no rope) cancels in the softmax.
    assert idle == (not g.any()), name


def test_a_plan_is_what_the_paper_says():
  """SELF refines both streams, CROSS reads the latest refined image."""
  model = rows.tiny(plans.visor(4, cross=(0, 2), self_=(1, 3)), chunk=5)
  compare(model, 'CSCT', 'traced', np.array([True, False]))


def test_options_of_cross_attention_are_what_they_say():
  """Every switch the other way, but conv, see cross_test.py."""
  options = architecture.CrossOptions(key_heads='full', norm=False, rope=True)
  compare(rows.tiny(plans.visor(2, (0,), (1,)), options), 'CS', (True,))


# Packed or alone --------------------------------------------------------------

SEGMENTS = ('ttvvvtpaavvtpa', 'tpaa', 'vvtpa')
BIG = rows.Shape(text=19, visual=10, tiles=2, prompts=4)
batch = functools.partial(rows.batch, shape=BIG)
ALONE = [(s,) for s in SEGMENTS]
PLANS = [np.array(p, bool) for p in plans.visor(6).plans]


def run(batch, plan, chunk=8):
  """Chunks that do not divide a row: their seams must not show either."""
  model = rows.tiny(plans.visor(6), chunk=chunk)
  if plan is rows.BASE:
    return rows.run(model, plan)(rows.params(model), batch)
  return rows.run(model)(rows.params(model), batch, plan)


def figure(batch, logits):
  """Segment's length -> its logits; lengths differ, so they name segments."""
  by_segment = {}
  for row in range(len(logits)):
    for number in range(1, batch.text_segment[row].max() + 1):
      of_segment = logits[rows.text(batch, row, number)]
      by_segment[f'{len(of_segment)} text'] = of_segment
  return by_segment


@pytest.mark.parametrize('plan', [rows.BASE, *PLANS], ids=str)
@pytest.mark.parametrize(
  'packed',
  [
    [SEGMENTS, (), ()],
    [(), SEGMENTS[::-1], ()],
    [SEGMENTS[1:], (), SEGMENTS[:1]],
    [SEGMENTS[:1], SEGMENTS[1:2], SEGMENTS[2:]],
  ],
  ids=['one row', 'turned', 'two rows', 'alone, other noise'],
)
@pytest.mark.parametrize('visual_first', [False, True])
def test_packed_equals_alone(plan, packed, visual_first):
  """A segment's logits are its own, and its gradients add up."""
  packed = batch(*packed, noise=9, visual_first=visual_first)
  alone = batch(*ALONE)
  want, want_grads = run(alone, plan)
  got, grads = run(packed, plan)
  want, got = figure(alone, want), figure(packed, got)
  assert set(want) == set(got) and len(want) == len(SEGMENTS)
  rows.close(got, want)
  rows.close(grads, want_grads)


@pytest.mark.parametrize('plan', [rows.BASE, *PLANS], ids=str)
def test_rows_may_change_places(plan):
  packed = batch(SEGMENTS, SEGMENTS[1:], SEGMENTS[:1])
  turned = packed.map(lambda x: x[::-1])
  want, want_grads = run(packed, plan)
  got, grads = run(turned, plan)
  rows.close(got[::-1], want)
  rows.close(grads, want_grads)


def draw(changed):
  return ''.join(' x'[int(x)] for x in changed)


@pytest.mark.parametrize('plan', [rows.BASE, *PLANS], ids=str)
def test_no_text_sees_an_image_after_it(plan):
  """Nor another segment's. To the last bit: what is masked is not there."""
  before = batch(('ttvvvtpaa', 'vvtpa'), ('tpaa', 'vtpa'), ())
  tiles = before.tiles.copy()
  tiles[0, 0] ^= 255  # the image of ttvvvtpaa
  after = dataclasses.replace(before, tiles=tiles)
  a, b = (run(x, plan)[0] for x in (before, after))
  changed = (np.asarray(a) != np.asarray(b)).any(-1)
  drawn = draw(changed[0, :9])
  assert drawn == '  xxxx   ' and not changed[1:].any()


@pytest.mark.parametrize('plan', [rows.BASE, *PLANS], ids=str)
def test_no_token_sees_a_later_one(plan):
  before = batch(('ttvvvtpaa', 'vvtpa'), (), ())
  tokens = before.tokens.copy()
  tokens[0, 3] += 1
  a, b = (
    run(x, plan)[0]
    for x in (before, dataclasses.replace(before, tokens=tokens % 40))
  )
  changed = (np.asarray(a) != np.asarray(b)).any(-1)
  assert draw(changed[0, :9]) == '   xxx   '
  assert not changed[1:].any()


# The tree ---------------------------------------------------------------------


def test_kinds_do_not_shape_the_tree():
  """Any choice of kinds runs on one checkpoint."""

  def shapes(*kinds):
    return jax.tree.map(
      np.shape, rows.params(rows.tiny(plans.visor(8, *kinds)))
    )

  assert shapes() == shapes((0, 7), (3,)) == shapes((1, 2), (0, 4, 5, 6))
  assert shapes()['llm']['cross']['key'] == (2, 16, 2, 6)
  assert shapes()['llm']['layers']['attention']['key'] == (8, 16, 2, 6)


def test_copy_cross():
  model = rows.tiny(plans.visor(6))
  params = rows.params(model)
  copied = cross_attention.copy_from_layers(params, model.layout)
  layers = params['llm']['layers']['attention']
  for name, value in copied['llm']['cross'].items():
    if name in layers:
      assert np.array_equal(value, layers[name][[1, 4]]), name
    else:  # conv and norms have nothing to copy
      assert value is params['llm']['cross'][name]
  assert {'query', 'key_bias', 'out'} <= set(layers) & set(
    copied['llm']['cross']
  )
  same = jax.tree.map(np.shape, params)
  assert jax.tree.map(np.shape, copied) == same  # a checkpoint like any other
  assert not np.array_equal(
    params['llm']['cross']['out'], layers['out'][[1, 4]]
  )  # and nothing was overwritten


def test_copy_cross_needs_the_layers_own_shape():
  model = rows.tiny(plans.visor(6), architecture.CrossOptions(key_heads='full'))
  with pytest.raises(ValueError, match=r'cross/key\b.*key_heads to "base"'):
    cross_attention.copy_from_layers(rows.params(model), model.layout)

"""How text reads the image: convolution, switches, a module of yours."""

import functools

from flax import linen as nn
import jax
import numpy as np

from tests import rows
from visor_jax.models import attention
from visor_jax.models import cross_attention
from visor_jax.models import positions
from visor_jax.models import visibility
from visor_jax.spec import architecture
from visor_jax.spec import plan as plans

SIZE = rows.LANGUAGE
BATCH = rows.batch(('ttvvvtp', 'tpa'), ('vvtpavtp', 'tvt'))
AT = positions.token_layout(BATCH)


def normal(*shape, seed=0):
  x = np.random.default_rng([seed, *shape]).standard_normal(shape)
  return x.astype(np.float32)


TEXT = normal(*BATCH.text_place.shape, SIZE.width)
VISUAL = normal(*BATCH.visual_place.shape, SIZE.width)


def read(options, params, text=TEXT, visual=VISUAL, at=AT, shift=0):
  """What a CROSS layer of those options adds to the text."""
  return program(options)(params, text, visual, at, shift)


@functools.cache
def program(options):
  module = cross_attention.DotProductAttention(SIZE, options)

  def f(params, text, visual, at, shift):
    apply = functools.partial(module.apply, {'params': params})
    keys = apply(visual, at.visual, at.visual_position + shift, method='keys')
    return apply(
      text, keys, at.text, at.visual, at.text_position + shift, attention.attend
    )

  return rows.jit(f)


def params(options, **over):
  shapes = jax.eval_shape(
    lambda key: cross_attention.DotProductAttention(SIZE, options).init(
      key, TEXT, VISUAL, method=touch
    ),
    jax.random.key(0),
  )['params']
  tree = {
    '/'.join(p.key for p in path): normal(*x.shape, seed=2) / 4
    for path, x in jax.tree_util.tree_leaves_with_path(nn.meta.unbox(shapes))
  }
  tree = {k: over.get(k, x) for k, x in tree.items()}
  nested = {k: v for k, v in tree.items() if '/' not in k}
  return nested | {
    k.split('/')[0]: {'scale': v} for k, v in tree.items() if '/' in k
  }


def touch(module, text, visual):
  keys = module.keys(visual, AT.visual, AT.visual_position)
  return module(
    text, keys, AT.text, AT.visual, AT.text_position, attention.attend
  )


# The convolution --------------------------------------------------------------


def reach(figure):
  """Row i of the drawing: the slots that the kernel brings to slot i."""
  segment = np.array([[0 if c == '.' else int(c) for c in figure]])
  one = np.eye(len(figure), dtype=np.float32)[None]  # slot i holds e_i
  out = cross_attention.conv(
    one, segment, np.ones((7, len(figure)), np.float32)
  )
  return [''.join('x' if x else '-' for x in row) for row in np.asarray(out)[0]]


def test_conv_reaches_three_slots_and_stops_at_segments_and_padding():
  assert reach('11111122..') == [
    'xxxx------',
    'xxxxx-----',
    'xxxxxx----',
    'xxxxxx----',
    '-xxxxx----',
    '--xxxx----',
    '------xx--',
    '------xx--',
    '----------',
    '----------',
  ]


def test_conv_is_a_depthwise_convolution():
  """torch's Conv1d(d, d, 7, padding=3, groups=d), which is a correlation."""
  visual, kernel = normal(1, 9, 4), normal(7, 4)
  want = np.stack(
    [np.correlate(np.pad(visual[0, :, i], 3), kernel[:, i]) for i in range(4)],
    -1,
  )
  got = cross_attention.conv(visual, np.ones((1, 9), int), kernel)
  rows.close(got[0], want)


def test_text_between_two_images_does_not_see_the_second():
  """In CROSS, as in SELF: an answer must not depend on a later turn's image."""
  figure, options = 'tvvvvtpavvtp', architecture.CrossOptions()
  at = positions.token_layout(
    rows.batch((figure,), shape=rows.Shape(7, 6, 2, 2))
  )
  weights, text = params(options), normal(1, 7, SIZE.width)
  visual = normal(1, 6, SIZE.width)
  other = visual + np.eye(6, dtype=np.float32)[4][None, :, None]  # 2nd image
  a, b = (read(options, weights, text, v, at) for v in (visual, other))
  changed = (np.asarray(a) != np.asarray(b)).any(-1)[0]
  assert ''.join(' x'[int(c)] for c in changed[:6]) == '    xx'


# What is read -----------------------------------------------------------------


def blind():
  """Text with no image of its own before it, and padding."""
  seen = visibility.visible(AT.text, AT.visual)
  return ~np.asarray(seen).any(-1)


def test_text_without_an_image_reads_exactly_zero():
  figure = [''.join('.x'[int(b)] for b in row) for row in blind()]
  #          ttp  tpa            tpatp  tt
  assert figure == ['xx..xxxxxxxx', '.....x.xxxxx']
  for options in (
    architecture.CrossOptions(),
    architecture.CrossOptions(rope=True, norm=False),
  ):
    out = np.asarray(read(options, params(options)))
    assert not out[blind()].any()
    assert np.abs(out[~blind()]).min() > 0


def test_keys_may_be_kept():
  """Generation computes `keys` once: they do not depend on the text, and a
  text slot's result does not depend on which others are asked with it."""
  options = architecture.CrossOptions()
  weights = params(options)
  two_slots = AT._replace(
    text=positions.Slots(*(x[:, 3:5] for x in AT.text)),
    text_position=AT.text_position[:, 3:5],
  )
  rows.close(
    read(options, weights, TEXT[:, 3:5], at=two_slots),
    read(options, weights)[:, 3:5],
  )


# The switches -----------------------------------------------------------------


def test_full_key_heads():
  """As many as query heads; with the base's repeated, it is the base's."""
  base, full = (
    architecture.CrossOptions(),
    architecture.CrossOptions(key_heads='full'),
  )
  few = params(base)
  many = {
    k: np.repeat(x, 2, axis=-2) if k.startswith(('key', 'value')) else x
    for k, x in few.items()
  }

  def shape(tree):
    return jax.tree.map(np.shape, tree)

  assert shape(params(full)) == shape(many)
  assert shape(many)['key'] == (16, 4, 6) and shape(few)['key'] == (16, 2, 6)
  rows.close(read(full, many), read(base, few))


def test_without_norm():
  """No such weights, and the size of the text matters."""
  options = architecture.CrossOptions(norm=False)
  weights = params(options)
  assert {'text_norm', 'visual_norm'} == set(
    params(architecture.CrossOptions())
  ) - set(weights)
  assert (
    np.abs(read(options, weights, 2 * TEXT) - read(options, weights)).max()
    > 1e-2
  )
  with_norm = params(architecture.CrossOptions())
  rows.close(
    read(architecture.CrossOptions(), with_norm, 2 * TEXT),
    read(architecture.CrossOptions(), with_norm),
  )


def test_without_conv():
  """No such weight; a kernel of zeros (the start) is the same."""
  off, on = architecture.CrossOptions(conv=False), architecture.CrossOptions()
  weights = params(on)
  assert set(params(off)) == set(weights) - {'conv'}
  want = read(on, weights | {'conv': np.zeros_like(weights['conv'])})
  got = read(off, {k: x for k, x in weights.items() if k != 'conv'})
  rows.close(got, want)
  assert np.abs(got - read(on, weights)).max() > 1e-2


def test_rope():
  """Distances matter, where the segment starts does not; without rope neither
  does."""
  for rope in (False, True):
    options = architecture.CrossOptions(rope=rope)
    weights = params(options)
    rows.close(read(options, weights, shift=5), read(options, weights))
    far = AT._replace(text_position=AT.text_position + 3)
    moved = (
      np.abs(read(options, weights, at=far) - read(options, weights)).max()
      > 1e-2
    )
    assert moved == rope


# A module of yours ------------------------------------------------------------


class Gated(nn.Module):
  """The least one can write: one head, keys are values, a gate that opens."""

  size: object
  options: object

  def setup(self):
    self.gate = self.param('gate', nn.initializers.zeros, (self.size.width,))

  def keys(self, visual, slots, position):
    return visual[:, :, None]

  def __call__(self, text, keys, slots, visual_slots, position, attend):
    read = attend(text[:, :, None], keys, keys, slots, visual_slots)
    return read[:, :, 0] * self.gate


def test_your_own_cross_attention(monkeypatch):
  """Named in CROSS it has its weights in the tree, starts as nothing, and a
  step of gradient descent lowers the loss; the router runs with it too."""
  monkeypatch.setitem(cross_attention.CROSS, 'gated', Gated)
  model = rows.tiny(plans.visor(6), architecture.CrossOptions(module='gated'))
  params = dict(rows.params(model))
  assert jax.tree.map(np.shape, params['llm']['cross']) == {'gate': (2, 16)}
  plan = np.array([True, False])

  def step(params):
    logits, grads = rows.run(model)(params, BATCH, plan)
    new = grads['llm']['cross']['gate']
    new = params['llm']['cross']['gate'] - 1e-2 * new
    return rows.answer_loss(logits, BATCH), params | {
      'llm': params['llm'] | {'cross': {'gate': np.asarray(new)}}
    }

  before, params = step(params)
  after, _ = step(params)
  assert after < before - 1e-3

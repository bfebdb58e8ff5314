"""One rule of who sees whom, and no way of computing it changes the result."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import rows
from visor_jax.models import attention
from visor_jax.models import compute as compute_lib
from visor_jax.models import positions
from visor_jax.models import visibility
from visor_jax.spec import plan as plans


def slots(figure, place=None):
  """Slots of one row: a digit is a segment, a dot is padding."""
  segment = [0 if c == '.' else int(c) for c in figure]
  place = np.arange(len(figure)) if place is None else place
  return positions.Slots(np.array([segment]), np.array([place]))


def draw(query, key):
  seen = np.asarray(visibility.visible(query, key))[0]
  return [''.join('x' if k else '-' for k in q) for q in seen]


def tensors(q, s, n=4, k=2, h=6, b=1):
  rng = np.random.default_rng(0)

  def make(*shape):
    return rng.standard_normal(shape).astype(np.float32)

  return make(b, q, n, h), make(b, s, k, h), make(b, s, k, h)


def chunks(size):
  """Attention in query chunks of that size."""
  return functools.partial(
    attention.attend, compute=compute_lib.Compute(chunk=size)
  )


# Who sees whom ----------------------------------------------------------------


def test_visible_packed():
  at = slots('11222..')
  assert draw(at, at) == [
    'x------',
    'xx-----',
    '--x----',
    '--xx---',
    '--xxx--',
    '-------',
    '-------',
  ]


def test_visible_text_to_image():
  """Row 1 1v 1v 1 2v 2 2v .: a segment's text sees its image before it."""
  text = slots('112.', [0, 3, 5, 7])
  visual = slots('1122', [1, 2, 4, 6])
  assert draw(text, visual) == ['----', 'xx--', '--x-', '----']


def test_visible_routing_token():
  """It stands at the last place of its prompt, and sees that place too."""
  text = slots('11112', [0, 1, 2, 3, 4])
  prompts = slots('12.', [1, 4, 0])
  assert draw(prompts, text) == ['xx---', '----x', '-----']


def test_visible_does_not_need_order():
  """A cache may hold its keys anyhow."""
  query, key = slots('1', [2]), slots('1111', [3, 0, 2, 1])
  assert draw(query, key) == ['-xxx']


# One result -------------------------------------------------------------------


def plain(query, key, value, mask):
  """In float64, one query and one head at a time."""
  query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
  b, q, n, h = query.shape
  out = np.zeros_like(query)
  for i, j, head in np.ndindex(b, q, n):
    seen = np.flatnonzero(mask[i, j])
    if len(seen):
      key_head = head // (n // key.shape[2])
      score = key[i, seen, key_head] @ query[i, j, head] / np.sqrt(h)
      weight = np.exp(score - score.max())
      out[i, j, head] = weight / weight.sum() @ value[i, seen, key_head]
  return out


@functools.cache
def program(chunk, implementation='chunked'):
  compute = compute_lib.Compute(chunk=chunk, attention=implementation)

  def both(qkv, query_slots, key_slots):
    def f(qkv):
      out = attention.attend(*qkv, query_slots, key_slots, compute=compute)
      # Any cotangent: it must differ from slot to slot.
      weight = jnp.sin(jnp.arange(out.size)).reshape(out.shape)
      return jnp.sum(out * weight), out

    (_, out), grads = jax.value_and_grad(f, has_aux=True)(qkv)
    return out, grads

  return rows.jit(both)


TEXT = slots('1122223333..', [0, 3, 4, 5, 8, 9, 10, 13, 14, 15, 16, 17])
VISUAL = slots('1122333', [1, 2, 6, 7, 11, 12, 18])


@pytest.mark.parametrize('keys', [TEXT, VISUAL], ids=['text', 'visual'])
@pytest.mark.parametrize('heads', [(4, 4), (4, 2), (4, 1)], ids=str)
def test_dense_is_attention(keys, heads):
  """Grouped keys are keys repeated; who sees nothing gets exactly zero."""
  q, k, v = tensors(12, keys.place.shape[1], *heads)
  mask = np.asarray(visibility.visible(TEXT, keys))
  out, _ = program(512)((q, k, v), TEXT, keys)
  rows.close(out, plain(q, k, v, mask))
  repeated = [np.repeat(x, heads[0] // heads[1], axis=2) for x in (k, v)]
  rows.close(out, program(512)((q, *repeated), TEXT, keys)[0])
  assert not np.asarray(out)[~mask.any(-1)].any()
  assert (~mask.any(-1)).any()


@pytest.mark.parametrize('chunk', [1, 5, 6, 11, 12, 13])
@pytest.mark.parametrize('keys', [TEXT, VISUAL], ids=['text', 'visual'])
def test_chunked_is_dense(chunk, keys):
  """Whether chunks divide the queries or not; gradients too."""
  qkv = tensors(12, keys.place.shape[1])
  rows.close(program(chunk)(qkv, TEXT, keys), program(512)(qkv, TEXT, keys))


@pytest.mark.parametrize('chunk', [4, 512])
def test_rows_without_keys_have_finite_gradients(chunk):
  """A row of padding, a text before its image: zero, and zero gradients."""
  q, k, v = tensors(12, 7)
  nobody = slots('.......')
  out, grads = program(chunk)((q, k, v), TEXT, nobody)
  assert not np.asarray(out).any()
  assert not any(np.asarray(g).any() for g in grads)
  mask = np.asarray(visibility.visible(TEXT, VISUAL))
  out, grads = program(chunk)((q, k, v), TEXT, VISUAL)
  assert all(np.isfinite(g).all() for g in grads)
  assert not np.asarray(grads[0])[~mask.any(-1)].any()
  assert not np.asarray(grads[1])[~mask.any(1)].any()


@pytest.mark.parametrize('size', [1e-3, 30.0, 1e4])
def test_scores_of_any_size(size):
  """A softmax that forgets to take off the maximum overflows."""
  q, k, v = tensors(12, 12)
  mask = np.asarray(visibility.visible(TEXT, TEXT))
  out, grads = program(5)((q * size, k, v), TEXT, TEXT)
  rows.close(out, plain(q * size, k, v, mask), 2e-3 if size == 1e4 else 1e-5)
  assert all(np.isfinite(g).all() for g in grads)


def test_unknown_implementation():
  with pytest.raises(ValueError, match='model.attention is "dense".*chunked'):
    attention.attend(
      *tensors(2, 2),
      slots('11'),
      slots('11'),
      compute=compute_lib.Compute(attention='dense'),
    )


@pytest.mark.parametrize('name', compute_lib.IMPLEMENTATIONS)
def test_every_implementation_serves_what_kernels_do_not(name):
  """Kernels are for ordered slots in sizes of theirs; the rest is chunked."""
  qkv = tensors(12, 7)
  rows.close(program(5, name)(qkv, TEXT, VISUAL), program(5)(qkv, TEXT, VISUAL))


# Memory -----------------------------------------------------------------------


def largest(f, *args):
  """Elements of the largest array that f makes, scans and branches included."""

  def walk(jaxpr):
    for e in jaxpr.eqns:
      yield from (v.aval.size for v in e.outvars)
      for sub in jax.tree.leaves(list(e.params.values()), is_leaf=is_jaxpr):
        if is_jaxpr(sub):
          yield from walk(getattr(sub, 'jaxpr', sub))

  def is_jaxpr(x):
    return hasattr(x, 'eqns') or hasattr(x, 'jaxpr')

  return max(walk(jax.make_jaxpr(f)(*args).jaxpr))


def abstract(tree):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


@pytest.mark.parametrize('gradient', [False, True])
def test_a_long_row_never_fills_memory(gradient):
  """S * S scores would be 16 M numbers; nothing has more than a chunk's."""
  s, chunk, heads = 4096, 512, 2
  at = positions.Slots(*[jnp.zeros((1, s), jnp.int32)] * 2)

  def f(*qkv):
    return jnp.sum(chunks(chunk)(*qkv, at, at) ** 2)

  f = jax.grad(f, argnums=(0, 1, 2)) if gradient else f
  qkv = abstract(tensors(s, s, heads, 1, 8))
  assert largest(f, *qkv) == heads * chunk * chunk < s * s


@pytest.mark.parametrize('gradient', [False, True])
def test_chunks_that_nobody_sees_are_not_read(gradient):
  """Of other segments, of padding and behind the queries: nan stays there."""
  segment = np.repeat([1, 1, 2, 0], 4)[None]
  at = positions.Slots(segment, np.arange(16)[None])
  query, key, value = tensors(16, 16)
  query_at = positions.Slots(*(x[:, 4:8] for x in at))
  unseen = np.ones(16, bool)
  unseen[:8] = False
  key[:, unseen] = value[:, unseen] = np.nan

  def f(qkv):
    return chunks(4)(*qkv, query_at, at).sum()

  out = jax.value_and_grad(f) if gradient else f
  assert all(
    np.isfinite(x).all()
    for x in jax.tree.leaves(out((query[:, 4:8], key, value)))
  )


def test_memory_can_be_measured():
  """In one chunk all scores are there."""
  s = 4096
  at = positions.Slots(*[jnp.zeros((1, s), jnp.int32)] * 2)

  def f(*qkv):
    return chunks(s)(*qkv, at, at)

  assert largest(f, *abstract(tensors(s, s, 2, 1, 8))) == 2 * s * s


def test_a_model_of_long_rows_never_fills_memory():
  """Forward and gradient: neither masks nor what is kept for the gradient.

  The most that is there at once are the scores of one chunk and key head.
  """
  shape = rows.Shape(text=1024, visual=3072, tiles=2, prompts=1)
  batch = rows.batch(('tvp',), shape=shape)
  model = rows.tiny(plans.visor(6), chunk=256)
  s = shape.text + shape.visual
  biggest = largest(
    rows.run(model).__wrapped__,
    rows.params(model),
    abstract(batch),
    np.array([True, True]),
  )
  language = model.size.language
  heads = language.heads // language.key_heads
  assert biggest == heads * 256 * 256 < s * s

"""Batches drawn as figures, and tiny models to feed them to.

A segment is drawn in the order of its places: `t` text, `v` visual, `p` the
text that ends a prompt, `a` text of an answer. A row is a tuple of segments,
padding follows by itself:

  batch(('tvvtpaa', 'tpa'), ('ttvvp',))

What a slot holds depends on the segment alone, never on where it lies, and
whatever is padding holds noise: a result that changes with the packing is
somebody's mistake.
"""

import dataclasses
import functools
import zlib

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from visor_jax.models import compute as compute_lib
from visor_jax.models import spans
from visor_jax.models import visor
from visor_jax.spec import architecture
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes

# Nothing equals anything else by accident: 6 patches of 4 pixels with a rest on
# both sides, heads * head_width is not the width, fewer key heads than heads.
VISION = sizes.Vision(
  width=12, depth=2, heads=2, mlp=20, tile=(10, 14), patch=4
)
LANGUAGE = sizes.Language(
  width=16,
  depth=6,
  heads=4,
  key_heads=2,
  head_width=6,
  mlp=24,
  vocabulary=40,
  rope_theta=100.0,
)
ROUTER = architecture.RouterOptions(hidden=8, plans=3)
# Compiles a tiny model five times as fast, to a slower program.
FAST = {
  'xla_backend_optimization_level': 0,
  'xla_cpu_use_fusion_emitters': False,
}
BASE = None  # the plan that is the base model


@dataclasses.dataclass(frozen=True)
class Segment:
  """A figure and the seed of what it holds; a prefix of it holds the same."""

  figure: str
  seed: int


def same(figure: str, prefix: str) -> Segment:
  """A prefix of a figure, holding what the whole of it holds."""
  return Segment(prefix, zlib.crc32(figure.encode()))


@dataclasses.dataclass(frozen=True)
class Shape:
  """T text slots, V visual slots, I tiles, R prompts of a row."""

  text: int = 12
  visual: int = 10
  tiles: int = 2
  prompts: int = 3


def batch(
  *rows,
  shape=Shape(),
  vision=VISION,
  vocabulary=40,
  noise=0,
  visual_first=False,
) -> batch_lib.Batch:
  """Packs rows of figures (or Segments) into one valid Batch of numpy arrays.

  Args:
    *rows: tuples of segments.
    shape: the fixed shape of a row.
    vision: says how large a tile is.
    vocabulary: tokens are below it.
    noise: seed of what padding holds.
    visual_first: visual padding gets places before text padding.
  """
  packed = [
    _row(row, shape, vision, vocabulary, noise + i, visual_first)
    for i, row in enumerate(rows)
  ]
  return batch_lib.Batch(
    **{k: np.stack([r[k] for r in packed]) for k in batch_lib.NAMES}
  )


def _row(segments, shape, vision, vocabulary, noise, visual_first):
  rng = np.random.default_rng([7, noise])
  t, v, patches = shape.text, shape.visual, vision.patches
  row = {
    'tokens': rng.integers(vocabulary, size=t),
    'text_segment': np.zeros(t, int),
    'text_place': np.zeros(t, int),
    'visual_segment': np.zeros(v, int),
    'visual_place': np.zeros(v, int),
    'tiles': rng.integers(256, size=(shape.tiles, *vision.tile, 3)),
    'tile_grid': np.zeros((shape.tiles, 2), int),
    'gather_index': rng.integers(shape.tiles * patches + 1, size=(v, 2)),
    'gather_weight': rng.random((v, 2)),
    'answer': np.zeros(t, bool),
    'prompt_segment': np.zeros(shape.prompts, int),
    'prompt_place': np.zeros(shape.prompts, int),
  }
  texts = visuals = tiles = prompts = place = 0
  for number, segment in enumerate(segments, 1):
    if isinstance(segment, str):
      segment = Segment(segment, zlib.crc32(segment.encode()))
    rng = np.random.default_rng([1, segment.seed])
    tokens = rng.integers(vocabulary, size=64)
    source = rng.integers(patches + 1, size=(64, 2))
    weight = rng.random((64, 2))
    source[2] = patches  # this one is a newline, wherever tiles are
    pixels = rng.integers(256, size=(*vision.tile, 3))
    source = np.where(
      source == patches, shape.tiles * patches, source + tiles * patches
    )
    seen = read = 0
    for slot in segment.figure:
      if slot == 'v':
        row['visual_segment'][visuals] = number
        row['visual_place'][visuals] = place
        row['gather_index'][visuals] = source[seen]
        row['gather_weight'][visuals] = weight[seen]
        seen, visuals = seen + 1, visuals + 1
      else:
        row['tokens'][texts] = tokens[read]
        row['text_segment'][texts] = number
        row['text_place'][texts] = place
        row['answer'][texts] = slot == 'a'
        read, texts = read + 1, texts + 1
      if slot == 'p':
        row['prompt_segment'][prompts] = number
        row['prompt_place'][prompts] = place
        prompts += 1
      place += 1
    if seen:
      row['tiles'][tiles] = pixels
      tiles += 1
  rest = [('visual', visuals, v), ('text', texts, t)]
  for stream, first, stop in rest if visual_first else reversed(rest):
    row[f'{stream}_place'][first:] = place + np.arange(stop - first)
    place += stop - first
  dtype = {'tiles': np.uint8, 'gather_weight': np.float32, 'answer': bool}
  return {k: np.asarray(x, dtype.get(k, np.int32)) for k, x in row.items()}


def text(batch: batch_lib.Batch, row: int, number: int):
  """Index of the text slots of a row's segment `number`, counted from 1."""
  return row, np.flatnonzero(batch.text_segment[row] == number)


def jit(f):
  """jax.jit for tests: see FAST."""
  return jax.jit(f, compiler_options=FAST)


def tiny(
  layout: plans.Layout,
  cross_options=architecture.CrossOptions(),
  router_options=ROUTER,
  tied=True,
  vision_depth=0,
  last_visual=True,
  reduction='',
  **compute,
) -> visor.Visor:
  """A model with that layout; most tests need no depth in the vision tower."""
  language = dataclasses.replace(LANGUAGE, depth=len(layout.kinds), tied=tied)
  vision = dataclasses.replace(VISION, depth=vision_depth)
  return visor.Visor(
    architecture.Architecture(
      sizes.Size(vision, language),
      layout,
      cross_options,
      router_options,
      last_visual,
      reduction,
    ),
    compute_lib.Compute(**compute),
  )


def change(model: visor.Visor, **fields) -> visor.Visor:
  """The model with other fields of its architecture."""
  return model.clone(
    architecture=dataclasses.replace(model.architecture, **fields)
  )


def params(model: visor.Visor, seed=0):
  """Parameters of which none is zero, small or idle; numpy, unboxed.

  A leaf depends on its path and shape alone, so models that share a path share
  its weights.
  """
  return _params(
    model.with_reduction('').clone(compute=compute_lib.Compute()), seed
  )


@functools.cache
def _params(model, seed):
  one = batch(('tvp',), shape=Shape(2, 1, 1, 1))
  shapes = jax.eval_shape(
    lambda key: model.init(key, one, method='init_all'), jax.random.key(0)
  )

  def fill(path, leaf):
    name = jax.tree_util.keystr(path, simple=True, separator='/')
    x = np.random.default_rng(
      [zlib.crc32(name.encode()), seed]
    ).standard_normal(leaf.shape)
    if name.endswith('scale'):
      return np.float32(1 + 0.2 * x)
    return np.float32(x if name.endswith('embedding') else x / 4)

  return jax.tree_util.tree_map_with_path(fill, nn.meta.unbox(shapes['params']))


def finish(model, routed, plan):
  """The rest of the model from where `route` stopped."""
  hidden = model.llm.run(
    routed.hidden,
    routed.token_layout,
    *spans.resolve(model.architecture, plan),
    range(model.before_self, model.architecture.depth),
  )
  return model.llm.logits(hidden.text)


def answer_loss(logits, batch):
  """Summed negative log-likelihood of the answers' tokens."""
  likely = jax.nn.log_softmax(logits[:, :-1])
  target = jnp.take_along_axis(likely, batch.tokens[:, 1:, None], -1)[..., 0]
  return -jnp.sum(jnp.where(batch.answer[:, 1:], target, 0))


@functools.cache
def logits(model: visor.Visor, plan='traced'):
  """Jitted (params, batch, bits) -> logits; see `run`."""
  return jit(
    lambda params, batch, bits=None: model.apply(
      {'params': params}, batch, bits if plan == 'traced' else plan
    )
  )


@functools.cache
def run(model: visor.Visor, plan='traced'):
  """Jitted (params, batch, bits) -> (logits, gradients of `answer_loss`).

  `plan` is static, a tuple or BASE; where it is 'traced' the plan is `bits`.
  """

  def loss(params, batch, bits):
    out = model.apply(
      {'params': params}, batch, bits if plan == 'traced' else plan
    )
    return answer_loss(out, batch), out

  def both(params, batch, bits=None):
    (_, out), grads = jax.value_and_grad(loss, has_aux=True)(
      params, batch, bits
    )
    return out, grads

  return jit(both)


def close(got, want, tol=1e-5):
  """Asserts that every leaf is equal up to `tol` of the leaf's largest value.

  A leaf that is zero but for rounding (the gradient of a key's bias cancels in
  the softmax) is measured by a hundredth of the tree's largest value.
  """
  got, want = (jax.tree_util.tree_leaves_with_path(x) for x in (got, want))
  assert [p for p, _ in got] == [p for p, _ in want]
  top = max(float(np.max(np.abs(x), initial=0)) for _, x in want)
  for (path, a), (_, b) in zip(got, want):
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape and np.isfinite(a).all(), path
    scale = max(np.max(np.abs(b), initial=0), top / 100)
    worst = np.max(np.abs(a - b), initial=0)
    assert worst <= tol * scale, (
      f'{jax.tree_util.keystr(path)} is off by {worst:.1e} of {scale:.1e}'
    )

"""Flash kernels against chunks on a GPU, in bfloat16: equality, and time.

  JAX_PLATFORMS=cuda XLA_PYTHON_CLIENT_PREALLOCATE=false \
      python -m pytest -m drill -n0 -s tests/models/attention_gpu_test.py

TFLOP/s are those of the pairs that are seen, a gradient three and a half times
a forward pass. Medians. With -k tiles it times how work can be cut, for cards
that attention_flash.TILES does not know yet.
"""

import dataclasses
import functools
import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from visor_jax.models import attention
from visor_jax.models import attention_chunks
from visor_jax.models import attention_flash
from visor_jax.models import compute as compute_lib
from visor_jax.models import flash_blocks
from visor_jax.models import positions
from visor_jax.models import visibility

ROW, TEXT, SEGMENTS = 20480, 2048, 5
CASES = {  # queries, query heads, key heads, head width
  'SELF, 0.5B': ('merged', 14, 2, 64),
  'SELF, 7B': ('merged', 28, 4, 128),
  'last SELF, 0.5B': ('text', 14, 2, 64),
  'CROSS, 0.5B': ('text to image', 14, 2, 64),
  'CROSS, 7B': ('text to image', 28, 4, 128),
  'TEXT, 0.5B': ('text alone', 14, 2, 64),
}


def slots(queries):
  """A row of segments, each an image and a text behind it; some padding."""
  place = np.arange(ROW)
  length = ROW // SEGMENTS - 7
  segment = np.where(place < SEGMENTS * length, place // length + 1, 0)
  is_text = (place % length >= length - TEXT // SEGMENTS) | (segment == 0)

  def at(chosen):
    return positions.Slots(
      *(jnp.array(x[chosen], jnp.int32)[None] for x in (segment, place))
    )

  text, image, merged = at(is_text), at(~is_text), at(place >= 0)
  return {
    'merged': (merged, merged),
    'text': (text, merged),
    'text to image': (text, image),
    'text alone': (text, text),
  }[queries]


def seconds(f, *args):
  jax.block_until_ready(f(*args))
  spent = []
  for _ in range(3):
    start = time.perf_counter()
    for _ in range(10):
      result = f(*args)
    jax.block_until_ready(result)
    spent.append((time.perf_counter() - start) / 10)
  return float(np.median(spent))


def compare(name, rate, flash, rival, inputs, weight):
  """Prints times of both and how far their results are apart.

  Args:
    name: of the case.
    rate: TFLOPs of a forward pass.
    flash: (query, key, value) -> context.
    rival: likewise.
    inputs: query, key and value.
    weight: the gradient of the context.
  """

  def both(attend):
    def f(query, key, value):
      read, back = jax.vjp(attend, query, key, value)
      return read, back(weight)

    return jax.jit(f)

  results = []
  for label, attend in (('flash', flash), ('rival', rival)):
    once = seconds(jax.jit(attend), *inputs)
    all_ = seconds(both(attend), *inputs)
    print(
      f'\n{name:16} {label:6} forward {once * 1e3:7.3f} ms, '
      f'{rate / once:4.0f} TFLOP/s; with gradient {all_ * 1e3:7.3f} ms, '
      f'{3.5 * rate / all_:4.0f} TFLOP/s',
      end='',
    )
    results.append(both(attend)(*inputs))
  for a, b in zip(*map(jax.tree.leaves, results)):
    a, b = (np.asarray(x, np.float32) for x in (a, b))
    error = np.linalg.norm(a - b) / np.linalg.norm(b)
    print(f'  {error:.5f}', end='')
    assert error <= 2e-2


def tensors(*shapes):
  assert jax.default_backend() == 'gpu', 'this drill needs a GPU'
  seeds = jax.random.split(jax.random.key(0), len(shapes))
  return [jax.random.normal(*x, jnp.bfloat16) for x in zip(seeds, shapes)]


@pytest.mark.drill
@pytest.mark.parametrize('name', CASES)
def test_flash_equals_chunks(name):
  queries, n, k, h = CASES[name]
  at, keys_at = slots(queries)
  q, s = at.place.shape[1], keys_at.place.shape[1]
  *inputs, weight = tensors(
    (1, q, n, h), (1, s, k, h), (1, s, k, h), (1, q, n, h)
  )
  ranges = visibility.ranges(at, keys_at)
  assert visibility.in_order(keys_at).all()
  pairs = float((ranges.end - ranges.start).sum())
  compare(
    name,
    4 * pairs * n * h / 1e12,
    functools.partial(attention_flash.attend, ranges=ranges),
    functools.partial(
      attention_chunks.attend, query_slots=at, key_slots=keys_at, chunk=1024
    ),
    inputs,
    weight,
  )


@pytest.mark.drill
def test_flash_of_a_tower_equals_plain_attention():
  """62 tiles of 729 patches, 16 heads of 72."""
  *inputs, weight = tensors(*[(62, 729, 16, 72)] * 4)
  compare(
    'tower',
    4 * 62 * 729**2 * 16 * 72 / 1e12,
    functools.partial(
      attention.attend_all, compute=compute_lib.Compute(attention='flash')
    ),
    functools.partial(
      attention.attend_all, compute=compute_lib.Compute(attention='chunked')
    ),
    inputs,
    weight,
  )


CUTS = [
  flash_blocks.Tile(*cut)
  for cut in itertools.product((64, 128), (32, 64, 128), (4, 8), (2, 3))
]


@pytest.mark.drill
@pytest.mark.parametrize('kernel', ('forward', 'of_queries', 'of_keys'))
@pytest.mark.parametrize('width', attention_flash.TILES)
def test_tiles_are_the_fastest(width, kernel):
  """Each kernel's, the others as they are; a gradient runs all three."""
  at, keys_at = slots('merged')
  ranges = visibility.ranges_of_segments(at.segment, causal=True)
  *inputs, weight = tensors(*((1, ROW, n, width) for n in (14, 2, 2, 14)))
  known = attention_flash.TILES[width]
  present = getattr(known, kernel)

  def both(tiles, query, key, value):
    attend = functools.partial(
      attention_flash.attend, ranges=ranges, tiles=tiles
    )
    read, back = jax.vjp(attend, query, key, value)
    return read if kernel == 'forward' else back(weight)

  spent = {}
  for cut in {present, *CUTS}:
    tiles = dataclasses.replace(known, **{kernel: cut})
    try:
      spent[cut] = seconds(jax.jit(functools.partial(both, tiles)), *inputs)
    except jax.errors.JaxRuntimeError as e:  # more memory than a core has
      print(f'\n{kernel}, {width} wide: {cut}: {str(e)[:80]}', end='')
  fastest = sorted(spent, key=spent.__getitem__)
  for cut in dict.fromkeys([*fastest[:3], present]):
    print(
      f'\n{kernel}, {width} wide: {1e3 * spent[cut]:.3f} ms with {cut}', end=''
    )
  assert spent[present] <= 1.1 * spent[fastest[0]]

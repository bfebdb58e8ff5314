"""Train steps of the 0.5B on one GPU, beside transformers.

  JAX_PLATFORMS=cuda XLA_PYTHON_CLIENT_PREALLOCATE=false \
      python -m pytest -m drill -n0 -s tests/training_gpu_test.py

Two conversations, each about an A4 page of 7,353 visual tokens in 31 tiles,
with 1,000 text tokens: one packed row here, a batch of two there. All weights
train, random ones, with AdamW; layers are recomputed in the backward pass on
both sides. Median of steps after the first two.

FLOPs are the model's (`nominal`, forward and twice that backward): nothing
that is recomputed counts, nor does the output head.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import torch

from experiments import llava_ov
from tests import inference_gpu_test as inference_drill
from tests import published
from visor_jax.data.processing import packing
from visor_jax.data.processing import processed
from visor_jax.families.llava_onevision import images
from visor_jax.families.llava_onevision import tiles as tiles_lib
from visor_jax.flops import cost as flops
from visor_jax.spec import batch as batch_lib
from visor_jax.training import losses
from visor_jax.training import program as program_lib

TEXT, ANSWER, CONVERSATIONS = 1000, 600, 2
PEAK = {'NVIDIA H100': 989e12, 'NVIDIA H200': 989e12, 'NVIDIA A100': 312e12}


def row(size):
  """The conversations in one row, and how their image is cut."""
  vision = size.vision
  recipe = inference_drill.recipe(vision.tile[0], vision.patch)
  cut = images.plan(recipe, *inference_drill.PAGE)
  pixels = np.random.default_rng(0).integers(
    256, size=(*inference_drill.PAGE, 3), dtype=np.uint8
  )
  tiles = tiles_lib.cut(PIL.Image.fromarray(pixels), cut)
  rng = np.random.default_rng(1)
  talks = [
    processed.Conversation(
      rng.integers(10, size.language.vocabulary, TEXT).astype(np.int32),
      np.arange(TEXT) >= TEXT - ANSWER,
      (9,),
      np.array([TEXT - ANSWER - 1], np.int32),
    )
    for _ in range(CONVERSATIONS)
  ]
  segments = [
    packing.segment_of_images(talk, [tiles], [cut], recipe.patches)
    for talk in talks
  ]
  shape = batch_lib.RowShape(2048, 18432, 64, 8, vision.tile, recipe.patches, 4)
  return packing.row(segments, shape), cut


def steps(run, count):
  """Seconds of a step, the least and the most of them."""
  spent = []
  for _ in range(count + 2):
    start = time.perf_counter()
    run()
    spent.append(time.perf_counter() - start)
  spent = spent[2:]
  return float(np.median(spent)), min(spent), max(spent)


def ours(attention='auto', names=('base', 'max', 'two', 'min'), count=8):
  config = llava_ov.get_config('size=0.5b,jobs=full')
  config.full.batch = 1
  config.model.attention = attention
  program = program_lib.from_config(config, 'full', jax.devices()[:1])
  model = program.model
  state = program.init_state(program.init_params())
  one, cut = row(model.size)
  examples = jax.device_put(losses.Examples(packing.stack([one])))
  (reductions,) = {*program.steps}
  layout = model.layout
  two = tuple(i in (0, 2) for i in range(len(layout.optional)))
  chosen = dict(base=None, max=layout.max, two=two, min=layout.min)
  for name in names:
    plan = chosen[name]
    bits = None if plan is None else jnp.asarray(plan)
    losses_seen = []

    def run():
      nonlocal state
      state, metrics = program.steps[reductions](state, examples, bits)
      losses_seen.append(float(metrics['loss']))

    seconds, least, most = steps(run, count)
    cost = flops.cost(
      model.architecture, plan, cut.tokens, TEXT, tiles=cut.tiles
    )
    counted = 3 * CONVERSATIONS * (cost.total - cost.head)
    kind = jax.devices()[0].device_kind
    peak = next((p for k, p in PEAK.items() if kind.startswith(k)), None)
    memory = (jax.devices()[0].memory_stats() or {}).get('peak_bytes_in_use', 0)
    tokens = CONVERSATIONS * (cut.tokens + TEXT)
    print(
      f'{attention:8} {name:5} {seconds * 1e3:8.1f} ms ({least * 1e3:.1f} to '
      f'{most * 1e3:.1f})  {tokens / seconds:9.0f} tokens/s  '
      f'{counted / 1e12:6.1f} TFLOPs  MFU '
      f'{counted / seconds / peak if peak else 0:5.1%}  memory '
      f'{memory / 2**30:5.1f} GiB  loss {losses_seen[0]:.3f} to '
      f'{losses_seen[-1]:.3f}',
      flush=True,
    )


def theirs(size, count=8):
  """transformers in bfloat16 with SDPA and torch's fused AdamW."""
  model, inputs, cut = inference_drill.rival(size, CONVERSATIONS, TEXT)
  model.train()
  model.gradient_checkpointing_enable({'use_reentrant': False})
  optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
  labels = inputs['input_ids'].clone()
  labels[:, :-ANSWER] = -100

  def run():
    loss = model(**inputs, labels=labels).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    loss.item()

  torch.cuda.reset_peak_memory_stats()
  seconds, least, most = steps(run, count)
  tokens = CONVERSATIONS * (cut.tokens + TEXT)
  print(
    f'{"rival":14} {seconds * 1e3:8.1f} ms ({least * 1e3:.1f} to '
    f'{most * 1e3:.1f})  {tokens / seconds:9.0f} tokens/s  memory '
    f'{torch.cuda.max_memory_allocated() / 2**30:5.1f} GiB',
    flush=True,
  )


@pytest.mark.drill
def test_speed_of_training():
  assert jax.default_backend() == 'gpu', 'this drill needs a GPU'
  print()
  theirs(published.SIZES['0.5b'])
  torch.cuda.empty_cache()
  ours()
  ours('chunked', ('max', 'min'), 3)

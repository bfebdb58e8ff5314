"""Time to first token and tokens a second of the 0.5B, beside transformers.

  JAX_PLATFORMS=cuda XLA_PYTHON_CLIENT_PREALLOCATE=false \
      python -m pytest -m drill -n0 -s tests/inference_gpu_test.py

Random weights, bfloat16, an A4 page of 7,353 visual tokens in 31 tiles, 60 text
tokens. Compiled, warmed and blocked; medians. The rival runs in the same
process with SDPA.
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import torch
import transformers

from tests import published
from visor_jax.data.processing import packing
from visor_jax.data.processing import processed
from visor_jax.eval import generate
from visor_jax.eval import sampling as sampling_lib
from visor_jax.families.llava_onevision import images
from visor_jax.families.llava_onevision import recipe as recipe_lib
from visor_jax.families.llava_onevision import tiles as tiles_lib
from visor_jax.flops import cost as flops
from visor_jax.models import compute as compute_lib
from visor_jax.models import positions
from visor_jax.models import visor
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.spec import architecture
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes
from visor_jax.training import model as model_lib

TEXT, NEW = 60, 64
PAGE = 2200, 1700


def median(f, times):
  f()
  spent = []
  for _ in range(times):
    start = time.perf_counter()
    f()
    spent.append(time.perf_counter() - start)
  return float(np.median(spent))


def recipe(side, patch):
  canvases = tuple(
    (side * h, side * w) for h in range(1, 7) for w in range(1, 7)
  )
  return recipe_lib.Recipe(side, side // patch, canvases, 9, (0.5,) * 3)


def ours(size, rows, times):
  """Prints a line for every plan; returns nothing."""
  cut = images.plan(recipe(size.vision.tile[0], size.vision.patch), *PAGE)
  talk = processed.Conversation(
    np.ones(TEXT, np.int32),
    np.zeros(TEXT, bool),
    (9,),
    np.array([TEXT - 1], np.int32),
  )
  row = packing.row(
    [
      packing.segment_of_images(
        talk,
        [tiles_lib.cut(PIL.Image.new('RGB', PAGE[::-1]), cut)],
        [cut],
        cut.recipe.patches,
      )
    ],
    batch_lib.RowShape(
      TEXT, cut.tokens, cut.tiles, 1, size.vision.tile, cut.recipe.patches, 4
    ),
  )
  batch = packing.stack([row] * rows).map(jnp.asarray)
  layout = plans.visor(size.language.depth)
  model = visor.Visor(
    architecture.Architecture(size, layout),
    compute_lib.Compute(dtype='bfloat16', remat=False),
  )
  params = jax.tree.map(
    lambda x: x.astype(jnp.bfloat16),
    model_lib.init_params(model, 0, mesh_lib.make(devices=jax.devices()[:1])),
  )
  peak, bandwidth = ceilings()
  two = tuple(
    i in (0, len(layout.optional) // 2) for i in range(len(layout.optional))
  )
  embed = jax.jit(lambda p, b: model.apply({'params': p}, b, method='embed'))
  stream = embed(params, batch)
  language = sum(x.nbytes for x in jax.tree.leaves(params['llm']))
  sampling = sampling_lib.Sampling(NEW, (-1,))  # no end: all tokens are made
  for plan in (None, layout.max, two, layout.min):
    cost = flops.cost(
      model.architecture, plan, cut.tokens, TEXT, tiles=cut.tiles
    )
    cache = sum(flops.cache(model.architecture, plan, cut.tokens, TEXT, 2))
    read = jax.jit(
      lambda p, s, b, plan=plan: model.apply(
        {'params': p},
        s,
        positions.token_layout(b),
        (),
        b,
        plan,
        method='_prefill',
      )
    )
    prefill = median(
      lambda: jax.block_until_ready(read(params, stream, batch)), times
    )
    first = median(
      lambda plan=plan: jax.block_until_ready(
        generate.prefill(model, params, batch, plan)
      ),
      times,
    )
    prompt = generate.prefill(model, params, batch, plan)
    decode = median(
      lambda plan=plan, prompt=prompt: jax.block_until_ready(
        generate.decode(
          model, params, batch, *prompt, plan, sampling, jax.random.key(0)
        )
      ),
      times,
    )
    floor = max(rows * cost.llm_prefill / peak, language / bandwidth)
    name = 'base' if plan is None else plans.name(plan)
    print(
      f'{name:8} rows {rows:3}  first token {first * 1e3:8.1f} ms  '
      f'LLM prefill {prefill * 1e3:8.1f} ms '
      f'({floor / prefill:4.0%} of roofline)  decode '
      f'{rows * (NEW - 1) / decode:8.0f} tokens/s  LLM '
      f'{cost.llm_prefill / 1e9:6.0f} GFLOPs a row  cache '
      f'{cache / 1e6:6.1f} MB a row',
      flush=True,
    )


@functools.cache
def ceilings():
  """FLOPs and bytes a second: a matrix product and a copy, measured here."""
  n = 8192 if jax.default_backend() == 'gpu' else 512
  x = jnp.ones((n, n), jnp.bfloat16)
  dot = jax.jit(lambda x: x @ x)
  copy = jax.jit(lambda x: x + 1)
  big = jnp.ones((n, n * 4), jnp.float32)
  run = lambda f, x: median(lambda: f(x).block_until_ready(), 20)
  return 2 * n**3 / run(dot, x), 2 * big.nbytes / run(copy, big)


def rival(size, rows, text):
  """transformers' model with SDPA, rows of an image and text, and its tiles."""
  v, l = size.vision, size.language
  config = transformers.LlavaOnevisionConfig(
    text_config=dict(
      model_type='qwen2',
      hidden_size=l.width,
      intermediate_size=l.mlp,
      num_hidden_layers=l.depth,
      num_attention_heads=l.heads,
      num_key_value_heads=l.key_heads,
      vocab_size=l.vocabulary,
      tie_word_embeddings=l.tied,
      head_dim=l.head_width,
    ),
    vision_config=dict(
      model_type='siglip_vision_model',
      hidden_size=v.width,
      intermediate_size=v.mlp,
      num_hidden_layers=v.depth,
      num_attention_heads=v.heads,
      image_size=v.tile[0],
      patch_size=v.patch,
      vision_use_head=False,
    ),
    image_token_index=2,
    video_token_index=3,
    image_grid_pinpoints=[list(c) for c in recipe(v.tile[0], v.patch).canvases],
  )
  config._attn_implementation = 'sdpa'
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  model = transformers.LlavaOnevisionForConditionalGeneration(config).to(
    device, torch.bfloat16
  )
  cut = images.plan(recipe(v.tile[0], v.patch), *PAGE)
  tokens = [1] * 9 + [2] * cut.tokens + [1] * (text - 9)
  inputs = dict(
    input_ids=torch.tensor([tokens] * rows, device=device),
    pixel_values=torch.zeros(
      rows, cut.tiles, 3, *v.tile, device=device, dtype=torch.bfloat16
    ),
    image_sizes=torch.tensor([PAGE] * rows, device=device),
  )
  return model, inputs, cut


def theirs(size, rows, times):
  """The same prompt, asked of transformers with SDPA."""
  model, inputs, _ = rival(size, rows, TEXT)
  model.eval()

  def generate_(new):
    with torch.no_grad():
      model.generate(
        **inputs,
        max_new_tokens=new,
        min_new_tokens=new,
        do_sample=False,
        pad_token_id=0,
      )
    if torch.cuda.is_available():
      torch.cuda.synchronize()

  first = median(lambda: generate_(1), times)
  all_tokens = median(lambda: generate_(NEW), max(1, times // 2))
  print(
    f'{"rival":8} rows {rows:3}  first token {first * 1e3:8.1f} ms  decode '
    f'{rows * (NEW - 1) / (all_tokens - first):8.0f} tokens/s',
    flush=True,
  )


def report(size, batches, times):
  peak, bandwidth = ceilings()
  print(
    f'\nmeasured ceilings: {peak / 1e12:.3g} TFLOP/s, '
    f'{bandwidth / 1e12:.3g} TB/s'
  )
  for rows in batches:
    theirs(size, rows, times)
    ours(size, rows, times)


@pytest.mark.drill
def test_speed_of_the_half_billion():
  assert jax.default_backend() == 'gpu', 'this drill needs a GPU'
  report(published.SIZES['0.5b'], (1, 16), 10)


@pytest.mark.drill
def test_the_drill_runs_where_there_is_no_gpu(capsys):
  """At a toy size: a command that is kept for later must still work then."""
  report(
    sizes.Size(
      sizes.Vision(16, 1, 2, 16, tile=(12, 12), patch=6),
      sizes.Language(16, 3, 2, 1, 8, 16, vocabulary=32),
    ),
    (2,),
    1,
  )
  printed = capsys.readouterr().out
  assert printed.count('first token') == 5 and 'roofline' in printed

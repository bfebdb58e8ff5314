"""Qwen2-VL from a folder to answers and back: transformers is asked the same.

Here a draw of cases; `pytest -m drill` asks more and prints what came out.
"""

import collections
import dataclasses
import json
import math

import jax
import numpy as np
import PIL.Image
import pytest

from tests import agreement
from tests import llava
from tests import llava_weights
from tests import qwen2_vl
from tests.convert import checkpoints
from tests.families.llava_onevision import cases as cases_lib
import visor_jax
from visor_jax.checkpoint import load
from visor_jax.convert import folders
from visor_jax.convert import hf
from visor_jax.data.pipeline import questions
from visor_jax.data.processing import packing
from visor_jax.eval import costs
from visor_jax.eval import prompts as prompts_lib
from visor_jax.families.qwen2_vl import images as images_lib
from visor_jax.families.qwen2_vl import recipe
from visor_jax.families.qwen2_vl import record
from visor_jax.models import visor
from visor_jax.runtime import compile_notice
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans
from visor_jax.training import model as model_lib

SIZES = (1, 1), (48, 64), (91, 40), (600, 3), (300, 400)


@pytest.fixture(scope='module')
def oracle(tmp_path_factory):
  return qwen2_vl.Oracle(tmp_path_factory.mktemp('qwen') / 'hf', tied=False)


@pytest.fixture(scope='module')
def model(oracle):
  return visor_jax.load(oracle.folder)


def test_logits_are_transformers(model, oracle):
  """Of every size of image, several, and none, in one batch."""
  cases = agreement.cases(SIZES)
  assert agreement.worst(model, oracle, cases) < 1e-4
  # And the image is looked at, and where what of it is.
  (image,), prompt = cases[1]
  turned = image.transpose(0)
  difference = oracle.logits([turned], prompt) - oracle.logits([image], prompt)
  assert np.abs(difference).max() > 0.1


def test_greedy_text_is_transformers(model, oracle):
  close, _ = agreement.same_text(model, oracle, agreement.cases(SIZES)[1:6:4])
  assert close < 2


def test_images_are_read_once_for_many_questions(model):
  """Positions are the same whether an image is read now or was before."""
  images = [llava.picture(*size) for size in SIZES[1:3]]
  reading = model.read(images)
  for question in ('What is the total?', 'Which is red?'):
    (want,) = model.generate([images], [question], max_new_tokens=8)
    assert reading.ask(question, max_new_tokens=8).text == want.text
  # Of the tower each image takes what it takes alone.
  known = recipe.Recipe(12, qwen2_vl.LEAST, qwen2_vl.MOST)
  counts = [images_lib.plan(known, *size).tiles for size in SIZES[1:3]]
  assert want.ran_vision_flops == sum(
    sum(costs.vision_flops(model.model.architecture, (n,))) for n in counts
  )


def test_images_of_all_sizes_have_few_shapes(oracle):
  """Of one image a question, up to the 16,384 tokens of published limits."""
  known = record.FAMILY.read_processor(oracle.folder, 'white', None)
  published = dataclasses.replace(
    known, recipe=dataclasses.replace(recipe.PUBLISHED, tile=12)
  )
  talk, shapes = published.tokenizer.prompt('What is it?', 1), set()
  for size in cases_lib.draw(1, 200):
    if max(size) <= 200 * min(size):
      plans = published.plans([size])
      blank = [np.zeros((plan.tiles, 0, 0, 3), np.uint8) for plan in plans]
      segment = packing.segment_of_images(talk, blank, plans, 1)
      packed = prompts_lib.pack([segment], published, np.zeros((1, 0)))
      shapes.add(packed.batch.gather_index.shape)
      assert (
        packed.batch.tile_grid.shape[1] == packed.batch.visual_place.shape[1]
      )
  assert len(shapes) <= 12


@pytest.mark.drill
def test_a_stream_of_images_of_all_sizes_compiles_few_programs(tmp_path):
  """Up to 16,384 tokens; of each part of an answer a dozen at most."""
  oracle = qwen2_vl.Oracle(
    tmp_path / 'hf', most=16384 * 12**2, vision=dict(depth=1)
  )
  model, compiled = visor_jax.load(oracle.folder), collections.Counter()

  def listen(event, seconds, fun_name='', **kwargs):
    compiled[fun_name] += event == compile_notice.ENDS

  jax.monitoring.register_event_duration_secs_listener(listen)
  sizes = [*cases_lib.draw(2, 60, 700), (900, 900), (1200, 1000), (3000, 4000)]
  tokens = [
    model.generate(
      [llava.picture(*size)], 'What?', max_new_tokens=3
    ).visual_tokens
    for size in sizes
    if max(size) <= 200 * min(size)
  ]
  jax.monitoring.unregister_event_duration_listener(listen)
  parts = {name: n for name, n in compiled.items() if n > 1}
  print(
    f'{len(tokens)} images of {min(tokens)} to {max(tokens)} tokens: {parts}'
  )
  assert max(tokens) > 16000 and len(set(tokens)) > 30
  assert 1 < compiled['jit(prefill)'] <= 12 and max(parts.values()) <= 12


def test_tiles_that_are_foretold_cost_nothing(oracle):
  pruned = visor_jax.load(oracle.folder, reduce='pixelprune')
  image = llava.picture(150, 200)
  image.paste('white', (0, 60, 200, 150))
  answer = pruned.read([image]).ask('What is it?', max_new_tokens=1)
  assert answer.visual_tokens < 25  # of 35
  size = answer.visual_tokens, answer.text_tokens, (answer.visual_tokens,)
  cost = costs.of_answer(pruned.model, None, costs.PromptSize(*size), 1)
  assert answer.total_flops == cost['total_flops']
  assert answer.total_saved > 1.2


def test_images_are_made_smaller_before_the_tower(oracle, model):
  """As transformers answers that is given them so, and cheaper."""
  smaller = visor_jax.load(oracle.folder, reduce='resize:48')
  image, prompt = llava.picture(150, 200), 'What is it?'
  given = image.resize((48, 36), PIL.Image.Resampling.BICUBIC)
  np.testing.assert_allclose(
    smaller.logits([image], prompt), oracle.logits([given], prompt), atol=1e-4
  )
  answer = smaller.generate([image], prompt, max_new_tokens=1)
  of_all = costs.of_answer(
    model.model, None, costs.PromptSize(35, answer.text_tokens, (35,)), 1
  )
  assert answer.visual_tokens == 12
  assert answer.total_saved == of_all['total_flops'] / answer.total_flops


@pytest.mark.parametrize('method', ['visionzip:1', 'vispruner:1', 'fastv:1:1'])
def test_a_reduction_to_all_tokens_changes_nothing(model, oracle, method):
  """Ratings of the tower, slots that stay and their positions go through."""
  images, prompt = agreement.cases(SIZES)[5]
  processor = record.FAMILY.read_processor(oracle.folder, 'white', None)
  segment = questions.segment(prompt, images, processor)
  packed = prompts_lib.pack([segment], processor)
  all_tokens, as_many, fewer = (
    packed.logits(model.model.with_reduction(reduction), model.params, None)[0]
    for reduction in ('', method, method[:-1] + '0.3')
  )
  np.testing.assert_allclose(as_many, all_tokens, atol=1e-5)
  assert np.abs(fewer - all_tokens).max() > 1e-2


def test_tokens_of_several_tiles_are_not_pooled(model):
  with pytest.raises(ValueError, match='"m3:2" averages patches of a tile'):
    model.model.with_reduction('m3:2').reduction.slots(
      40, 40, model.model.size.vision.grid
    )


def test_a_tower_with_windows_is_transformers(tmp_path):
  """Images of several windows, of a part of one, side by side."""
  oracle = qwen2_vl.Oracle(tmp_path / 'hf', tied=False, windowed=True)
  model = visor_jax.load(oracle.folder)
  assert model.model.size.vision.window == 3
  cases = agreement.cases(SIZES)
  assert agreement.worst(model, oracle, cases) < 1e-4
  assert agreement.same_text(model, oracle, cases[2:3])[0] == 0


@pytest.mark.drill
def test_agreement_in_many_cases(tmp_path):
  def oracle_of(number, rng):
    keys, group = map(int, rng.integers(1, 4, 2))
    sections = [int(n) for n in rng.integers(1, 4, 3)]
    rope = qwen2_vl.ROPE | dict(mrope_section=sections)
    return qwen2_vl.Oracle(
      tmp_path / str(number),
      tied=bool(number % 3),
      flat=number % 2 > 0,
      windowed=number > 4,
      most=(qwen2_vl.MOST, 600 * 12**2)[number % 2],
      text=dict(
        num_attention_heads=keys * group,
        num_key_value_heads=keys,
        hidden_size=keys * group * 2 * sum(sections),
        num_hidden_layers=int(rng.integers(1, 8)),
        rope_parameters=rope,
      ),
      vision={
        ('embed_dim', 'hidden_size')[number > 4]: 24 * int(rng.integers(1, 4)),
        'depth': int(rng.integers(2, 5)),
      },
    )

  agreement.drill(oracle_of, thinnest=200)


@pytest.mark.parametrize(
  'dtype,tied,shards,spelling,flat,windowed',
  [
    ('bfloat16', True, False, 'files', True, False),
    ('float32', False, True, 'memory', False, False),
    ('bfloat16', False, False, 'memory', True, True),
  ],
)
def test_an_export_is_what_was_imported(
  tmp_path, dtype, tied, shards, spelling, flat, windowed
):
  """Every tensor to the byte, and the config in the layout that it had."""
  src = tmp_path / 'src'
  qwen2_vl.write(src, dtype, tied, shards=shards, flat=flat, windowed=windowed)
  expected = checkpoints.tensors_of(src)
  assert any(name.startswith('visual.') for name in expected)
  if spelling == 'memory':
    llava_weights.rename(src, qwen2_vl.memory)
  checkpoints.go_round(src, expected)
  for out in ('out', 'again'):
    configs = (
      json.loads((folder / 'config.json').read_text())
      for folder in (src, tmp_path / out)
    )
    assert len({json.dumps(fields, sort_keys=True) for fields in configs}) == 1


@pytest.mark.parametrize(
  'flat,windowed', [(True, False), (False, False), (True, True)]
)
def test_transformers_loads_an_export(tmp_path, flat, windowed):
  theirs, _ = qwen2_vl.write(
    tmp_path / 'src', tied=False, flat=flat, windowed=windowed
  )
  folders.import_(tmp_path / 'src', tmp_path / 'checkpoint')
  folders.export(tmp_path / 'checkpoint', tmp_path / 'out')
  checkpoints.same_weights(qwen2_vl.loads(tmp_path / 'out', windowed), theirs)
  assert (
    hf.read(tmp_path / 'out').facts == load.load(tmp_path / 'checkpoint').facts
  )


# As the hub counts them.
PARAMS = {
  'qwen2-vl-2b': 2_208_985_600,
  'qwen2-vl-7b': 8_291_375_616,
  'qwen2.5-vl-3b': 3_754_622_976,
  'qwen2.5-vl-7b': 8_292_166_656,
}


@pytest.mark.parametrize('size', PARAMS)
def test_the_published_sizes_are_as_large_as_published_and_spread(size):
  """On paper: no byte of them is made."""
  named = record.FAMILY.sizes[size]
  model = visor.Visor(
    architecture_lib.Architecture(
      named, plans.visor(named.language.depth), family='qwen2_vl'
    )
  )
  shapes = param_paths.flatten(
    model_lib.abstract_params(model, mesh_lib.make(data=1, fsdp=4, tensor=2))
  )
  base = {
    path: x
    for path, x in shapes.items()
    if not path.startswith(('llm/cross/', 'router/'))
  }
  assert sum(math.prod(x.shape) for x in base.values()) == PARAMS[size]
  held = sum(math.prod(x.sharding.shard_shape(x.shape)) for x in base.values())
  assert held < 0.15 * PARAMS[size]  # an eighth, but for what is narrow

"""FastVLM from a folder to answers and back: transformers is asked the same.

Here a draw of cases; `pytest -m drill` asks more and prints what came out.
"""

import dataclasses
import json
import math

import numpy as np
import PIL.Image
import pytest
import torch

from tests import agreement
from tests import fastvlm
from tests import llava
from tests import llava_weights
from tests.convert import checkpoints
import visor_jax
from visor_jax.checkpoint import load
from visor_jax.convert import folders
from visor_jax.convert import hf
from visor_jax.eval import costs
from visor_jax.families.fastvlm import config as config_lib
from visor_jax.families.fastvlm import record
from visor_jax.models import visor
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans
from visor_jax.training import model as model_lib
from visor_jax.training import stages

SIZES = (1, 1), (480, 640), (40, 91), (3000, 40), (128, 128)


@pytest.fixture(scope='module')
def oracle(tmp_path_factory):
  return fastvlm.Oracle(tmp_path_factory.mktemp('pad') / 'hf', tied=False)


@pytest.fixture(scope='module')
def model(oracle):
  return visor_jax.load(oracle.folder)


def test_logits_are_transformers(model, oracle):
  """Of every size of image, several, and none, in one batch."""
  cases = agreement.cases(SIZES)
  assert agreement.worst(model, oracle, cases) < 1e-4
  # And the image is looked at: another one changes what is said.
  (_, prompt), other = cases[1], llava.picture(480, 640, seed=9)
  assert (
    np.abs(oracle.logits([other], prompt) - oracle.logits(*cases[1])).max()
    > 0.1
  )


def test_a_config_chooses_the_crop_of_converted_checkpoints(tmp_path, oracle):
  crop = fastvlm.Oracle(tmp_path / 'hf', fit='crop', tied=False)
  case = ([llava.picture(60, 240)], 'What is it?')
  assert agreement.worst(visor_jax.load(crop.folder), crop, [case]) < 1e-4
  assert np.abs(crop.logits(*case) - oracle.logits(*case)).max() > 1e-2


def test_greedy_text_is_transformers(model, oracle):
  close, _ = agreement.same_text(model, oracle, agreement.cases(SIZES)[1:3])
  assert close < 2


def test_images_are_made_smaller_before_the_tower(oracle, monkeypatch):
  """So is their tile, and the tower costs what it then does."""
  model = visor_jax.load(oracle.folder, reduce='resize:64')
  image, prompt = llava.picture(150, 200), 'What is it?'
  logits = model.logits([image], prompt)
  architecture = dataclasses.replace(model.model.architecture, reduction='')
  cost, of_all = (
    sum(costs.vision_flops(each, (1,)))
    for each in (model.model.architecture, architecture)
  )
  assert 4 * cost == pytest.approx(of_all, rel=0.05)
  monkeypatch.setattr(fastvlm, 'SIDE', 64)
  smaller = image.resize((64, 48), PIL.Image.Resampling.BICUBIC)
  np.testing.assert_allclose(
    logits, oracle.logits([smaller], prompt), atol=1e-4
  )
  with pytest.raises(ValueError, match='resize:100: .*multiple of 64'):
    visor_jax.load(oracle.folder, reduce='resize:100')


@pytest.mark.drill
def test_agreement_in_many_cases(tmp_path):
  def oracle_of(number, rng):
    keys, group = map(int, rng.integers(1, 4, 2))
    return fastvlm.Oracle(
      tmp_path / str(number),
      fit=('pad', 'crop')[number % 2],
      tied=bool(number % 3),
      text=dict(
        num_attention_heads=keys * group,
        num_key_value_heads=keys,
        head_dim=int(rng.choice([4, 8, 10])),
        num_hidden_layers=int(rng.integers(1, 8)),
      ),
    )

  agreement.drill(oracle_of, thinnest=100)


@pytest.mark.parametrize('spelling', ['transformers', 'apple'])
@pytest.mark.parametrize(
  'dtype,tied,shards', [('bfloat16', True, False), ('float32', False, True)]
)
def test_an_export_is_what_was_imported(
  tmp_path, dtype, tied, shards, spelling
):
  """Every tensor to the byte: statistics, their counts and unused heads too."""
  src = tmp_path / 'src'
  fastvlm.write(src, dtype, tied, shards=shards)
  if not shards:
    checkpoints.change(
      src,
      lambda t: t.update(
        {fastvlm.TOWER + 'head.proj': torch.ones(3, 5, dtype=torch.bfloat16)}
      ),
    )
  expected = checkpoints.tensors_of(src)
  if spelling == 'apple':
    llava_weights.rename(src, fastvlm.apple)
    assert any('.lkb_reparam.' in name for name in checkpoints.tensors_of(src))
  checkpoints.go_round(src, expected)
  assert sum('num_batches_tracked' in name for name in expected) == 7
  assert sum('running_mean' in name for name in expected) == 7


@pytest.mark.parametrize('spelling', ['transformers', 'apple'])
def test_transformers_loads_an_export(tmp_path, monkeypatch, spelling):
  theirs, _ = fastvlm.write(tmp_path / 'src', tied=False)
  if spelling == 'apple':
    vision = json.loads((tmp_path / 'src/config.json').read_text())
    monkeypatch.setattr(config_lib, '_VISION', vision['vision_config'])
    monkeypatch.setitem(
      config_lib._FIXED_APPLE, 'mm_hidden_size', 2 * fastvlm.WIDTHS[-1]
    )
    llava_weights.rename(tmp_path / 'src', fastvlm.apple)
    fastvlm.flat_config(tmp_path / 'src', 2 * fastvlm.WIDTHS[-1])
  folders.import_(tmp_path / 'src', tmp_path / 'checkpoint')
  folders.export(tmp_path / 'checkpoint', tmp_path / 'out')
  checkpoints.same_weights(fastvlm.loads(tmp_path / 'out'), theirs)
  assert (
    hf.read(tmp_path / 'out').facts == load.load(tmp_path / 'checkpoint').facts
  )


def test_the_redundant_head_of_a_tied_checkpoint_stays(tmp_path):
  """Apple's 0.5B writes one."""
  fastvlm.make(tmp_path / 'src')
  checkpoints.change(
    tmp_path / 'src',
    lambda t: t.update(
      {'lm_head.weight': t['model.language_model.embed_tokens.weight'].clone()}
    ),
  )
  imported = hf.read(tmp_path / 'src')
  assert imported.facts.architecture.size.language.tied
  hf.write(tmp_path / 'out', imported)
  assert checkpoints.tensors_of(tmp_path / 'out') == checkpoints.tensors_of(
    tmp_path / 'src'
  )


# Parameters of Qwen2 as its checkpoints hold them, with 151,936 words (7B:
# 152,064), and of the tower, of which a connector of two layers reads 3072.
QWEN2 = {'0.5b': 494_032_768, '1.5b': 1_543_714_304, '7b': 7_615_616_512}
WORDS = {'0.5b': 151_936, '1.5b': 151_936, '7b': 152_064}
TOWER = 122.7e6


@pytest.mark.parametrize('size', QWEN2)
def test_the_published_sizes_are_as_large_as_published_and_spread(size):
  """On paper: no byte of them is made."""
  language = record.FAMILY.sizes[f'fastvlm-{size}'].language
  model = visor.Visor(
    architecture_lib.Architecture(
      record.FAMILY.sizes[f'fastvlm-{size}'],
      plans.visor(language.depth),
      family='fastvlm',
    )
  )
  shapes = param_paths.flatten(
    model_lib.abstract_params(model, mesh_lib.make(data=1, fsdp=4, tensor=2))
  )

  def count(part):
    return sum(math.prod(x.shape) for p, x in shapes.items() if part in p)

  padded = (language.vocabulary - WORDS[size]) * (1 if language.tied else 2)
  assert count('llm/') - count('llm/cross/') == (
    QWEN2[size] + padded * language.width
  )
  assert count('vision/') == pytest.approx(TOWER, rel=1e-3)
  assert count('connector/') == language.width * (3072 + language.width + 2)
  held = sum(
    math.prod(x.sharding.shard_shape(x.shape))
    for p, x in shapes.items()
    if 'vision/' in p
  )
  assert held < 0.4 * count('vision/')  # or it would be on every device


@pytest.mark.parametrize('stage', ['full', 'universal'])
def test_a_stage_trains_the_tower_but_for_what_was_measured(model, stage):
  """That it runs is a drill, tests/joined_test.py."""
  learns, frozen = param_paths.split(model.params, stages.named(stage).trains)
  vision = {path for path in (*learns, *frozen) if path.startswith('vision/')}
  measured = {path for path in vision if '/running_' in path}
  assert len(measured) == 10
  assert vision - learns.keys() == measured

"""A folder that runs VISOR on torch and transformers says what ours says.

Here a draw; `pytest -m drill` asks more and prints what came out.
"""

import dataclasses
import json

import numpy as np
import pytest
import torch
import transformers

from tests import llava
from tests import questions
from tests import torch_visor
from tests.convert import checkpoints
from visor_jax.checkpoint import load
from visor_jax.convert import folders
from visor_jax.convert import hf
from visor_jax.convert import visor_folder
from visor_jax.eval import generate
from visor_jax.runtime import param_paths
from visor_jax.spec import architecture as architecture_lib
from visor_jax.spec import plan as plans


def made(name, tmp_path_factory):
  where = tmp_path_factory.mktemp(name)
  torch_visor.write(where, name)
  return torch_visor.Pair(where)


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
  return made('default', tmp_path_factory)


@pytest.fixture(scope='module')
def other(tmp_path_factory):
  return made('other', tmp_path_factory)


def test_logits_are_ours(pair):
  """Rows of several lengths, with one image, none and two of them."""
  assert not any(pair.problems.values())
  for plan in ('1', 'max'):  # of min there are answers below
    assert pair.differ(questions.ASKED, plan) < 1e-4, plan


def test_logits_of_base_are_those_of_its_class(pair):
  inputs = pair.inputs(questions.ASKED)
  base = checkpoints.loads(pair.oracle.folder)
  with torch.no_grad():
    ours = pair.theirs(**inputs, plan='base').logits
    assert torch.equal(ours, base(**inputs).logits)


def test_an_architecture_that_is_by_default_in_nothing(other):
  assert other.differ(questions.ASKED, 'max') < 1e-4
  packed = other.ours.asked.pack(*zip(*questions.ASKED), 0)
  scores, _ = generate.route(other.ours.model, other.ours.params, packed.batch)
  inputs = other.inputs(questions.ASKED)
  mask, ids = inputs.pop('attention_mask'), inputs['input_ids']
  theirs = other.theirs.route(ids, mask, other.theirs.embed_images(**inputs))
  np.testing.assert_allclose(scores, theirs.detach(), atol=1e-4)


def test_router_and_answers_are_ours(pair):
  """And rows of several plans in a batch are answered as each alone."""
  options = dict(budget=0.95, budget_of='total')
  ours = pair.ours.generate(
    *zip(*questions.ASKED), **options, max_new_tokens=16
  )
  answer, texts = pair.generate(questions.ASKED, 16, **options)
  assert texts == [x.text for x in ours]
  assert answer.plans == [plans.name(x.plan) for x in ours]
  assert len(set(answer.plans)) > 1
  assert ((answer.confidence > 0) & (answer.confidence <= 1)).all()
  for case, text, plan in zip(questions.ASKED, texts, answer.plans):
    assert pair.generate([case], 16, plan=plan)[1] == [text]


def test_layers_keep_of_the_image_what_they_need(pair):
  inputs = pair.inputs(questions.ASKED[:1])
  cache = pair.theirs(**inputs, plan='1', use_cache=True).past_key_values
  visual = (inputs['input_ids'] == pair.theirs.config.image_token_id).sum()
  everything = inputs['input_ids'].shape[1]
  keys = [layer.keys.shape[2] for layer in cache.layers]
  text = everything - int(visual)
  assert keys == [text] * 4 + [everything, text]  # 4 is SELF, 2 is off
  assert {k: x.shape[2] for k, (x, _) in cache.cross.items()} == {
    1: visual,
    3: visual,
  }


def test_the_folder_comes_back_byte_for_byte(pair, tmp_path):
  folders.import_(pair.folder, tmp_path / 'checkpoint')
  again = load.load(tmp_path / 'checkpoint')
  before = load.load(pair.ours.source)
  checkpoints.equal(again.params, before.params)
  assert again.facts == before.facts
  for form in ('visor', 'imported'):
    folders.export(tmp_path / 'checkpoint', tmp_path / form, form)
    assert bytes_of(tmp_path / form) == bytes_of(pair.folder)
  folders.export(tmp_path / 'checkpoint', tmp_path / 'base')
  folders.export(pair.ours.source, tmp_path / 'as_before')
  assert bytes_of(tmp_path / 'base') == bytes_of(tmp_path / 'as_before')
  checkpoints.loads(tmp_path / 'base')


def bytes_of(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_torch_trains_comes_home(pair, tmp_path):
  """A step under plan max changes every weight that it uses."""
  theirs = transformers.AutoModel.from_pretrained(  # as some programs do
    pair.folder, trust_remote_code=True
  )
  inputs = pair.inputs(questions.ASKED[:1])
  labels = inputs['input_ids'].where(
    inputs['input_ids'] != theirs.config.image_token_id, -100
  )
  theirs(**inputs, labels=labels, plan='max').loss.backward()
  silent = [
    name
    for name, x in theirs.named_parameters()
    if x.grad is None or not x.grad.any()
  ]
  unused = ('visor.router', 'post_layernorm', '.head.', 'k_proj.bias')
  last = 'visor.cross.', 'key_bias'  # softmax does not see a shift of all keys
  assert [
    name
    for name in silent
    if not any(part in name for part in unused)
    and not all(part in name for part in last)
  ] == []
  with torch.no_grad():
    for x in theirs.parameters():
      x -= 0.1 * x.grad if x.grad is not None else 0
  theirs.save_pretrained(tmp_path / 'trained')
  checkpoint = hf.read(tmp_path / 'trained')
  assert checkpoint.facts == pair.ours.facts
  params = param_paths.flatten(checkpoint.params)
  for number, layer in enumerate(torch_visor.CROSS):
    np.testing.assert_array_equal(
      params['llm/cross/out'][number],
      theirs.visor.cross[str(layer)].out.detach(),
    )
  np.testing.assert_array_equal(
    params['llm/embedding'], theirs.get_input_embeddings().weight.detach()
  )


def test_without_a_router_it_is_max_where_nobody_says(pair, monkeypatch):
  monkeypatch.setitem(pair.theirs.config.visor, 'trained', ['cross'])
  answer, _ = pair.generate(questions.ASKED[:1], 1)
  assert answer.plans == ['max']


def test_layers_that_learned_beside_cross_are_no_base(pair, monkeypatch):
  monkeypatch.setitem(pair.theirs.config.visor, 'trained', ['cross', 'decoder'])
  with pytest.raises(ValueError, match='"base": .* no dense model any more'):
    pair.generate(questions.ASKED[:1], 1, plan='base')


def test_transformers_options_of_generate_work(pair):
  inputs = pair.inputs(questions.ASKED)
  for options, rows in (
    (dict(num_beams=2), 1),
    (dict(do_sample=True, num_return_sequences=2), 2),
  ):
    out = pair.theirs.generate(
      **inputs, budget=0.5, max_new_tokens=3, pad_token_id=0, **options
    )
    assert len(out) == rows * len(questions.ASKED)
  uncached = pair.generate(questions.ASKED, 4, plan='1', use_cache=False)[1]
  assert uncached == pair.generate(questions.ASKED, 4, plan='1')[1]


def test_what_cannot_be_asked_is_named(pair):
  inputs = pair.inputs(questions.ASKED[:1])
  for options, why in (
    (dict(plan='3'), 'of 2 optional SELF layers'),
    (dict(plan='max', budget=0.5), 'one of them'),
    (dict(budget=0.1), r'from 0\.300 to 1\.100'),
    (dict(budget=0.1, budget_of='total'), r'0\.700 to 1\.050 .* end to end'),
    (dict(budget=0.9, budget_of='tower'), 'expected one of prefill, total'),
    (dict(drop=2), 'accuracy, 0 to 1'),
  ):
    with pytest.raises(ValueError, match=why):
      pair.theirs.generate(**inputs, **options)


@pytest.mark.parametrize(
  'changes,trained,why',
  [
    (dict(reduction='pack:2'), ('cross',), "token reduction is 'pack:2'"),
    (dict(family='fastvlm'), ('cross',), "family is 'fastvlm'"),
    (
      dict(cross=architecture_lib.CrossOptions(module='mean')),
      ('cross',),
      "cross attention is 'mean'",
    ),
    ({}, (), 'VISOR is trained in it: False'),
  ],
)
def test_what_torch_cannot_run_is_not_written(pair, changes, trained, why):
  architecture = dataclasses.replace(pair.ours.facts.architecture, **changes)
  with pytest.raises(ValueError, match=why):
    visor_folder.check(architecture, trained)


def test_a_broken_entry_is_named(pair, tmp_path):
  checkpoints.copy([pair.folder], tmp_path / 'a')
  path = tmp_path / 'a' / 'config.json'
  config = json.loads(path.read_text())
  path.write_text(json.dumps(config | dict(visor=[])))
  with pytest.raises(ValueError, match='visor'):
    hf.read(tmp_path / 'a')


@pytest.mark.drill
@pytest.mark.parametrize('name', torch_visor.ARCHITECTURES)
def test_500_questions(name, tmp_path):
  """The router's choice of each, and 64 tokens of some."""
  torch_visor.write(tmp_path, name)
  pair = torch_visor.Pair(tmp_path)
  sizes = (45, 62), (9, 100), (70, 20), (20, 20)  # in each batch: few shapes
  asked = [
    (
      [llava.picture(*sizes[i % 4], seed=i)],
      f'{questions.PROMPTS[i % 2]} {i}',
    )
    for i in range(500)
  ]
  chosen, worst = {}, {}
  for first in range(0, len(asked), 20):
    part = asked[first : first + 20]
    for options in (dict(plan='router'), dict(budget=0.7)):
      tokens = 64 if first < 40 else 1
      ours = pair.ours.generate(*zip(*part), **options, max_new_tokens=tokens)
      answer, texts = pair.generate(part, tokens, **options)
      names = [plans.name(x.plan) for x in ours]
      assert names == answer.plans
      assert texts == [x.text for x in ours]
      for plan in names:
        chosen[plan] = chosen.get(plan, 0) + 1
    if first < 100:
      for plan in ('base', 'min', '1', 'max'):
        worst[plan] = max(worst.get(plan, 0), pair.differ(part, plan))
  print(name, chosen, {plan: f'{x:.1e}' for plan, x in worst.items()})
  assert max(worst.values()) < 1e-4

"""Hugging Face folders, read and written; asked the same as ours."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from tests import llava
from tests import llava_weights
from tests import published
from tests.convert import checkpoints
from visor_jax.checkpoint import folder as folder_lib
from visor_jax.checkpoint import load
from visor_jax.convert import folders
from visor_jax.convert import hf
from visor_jax.convert import sidecar
from visor_jax.models import visor
from visor_jax.runtime import param_paths
from visor_jax.spec import plan as plans

TABLE = published.TENSORS


@pytest.mark.parametrize('tied', [True, False])
@pytest.mark.parametrize('dtype', ['bfloat16', 'float16', 'float32'])
def test_four_spellings_in_one_file_or_many(tmp_path, dtype, tied):
  """All give the parameters that the torch model has."""
  model = llava_weights.make(tmp_path / 'one', dtype=dtype, tied=tied)
  llava_weights.make(tmp_path / 'many', dtype=dtype, tied=tied, shards=True)
  assert len(list((tmp_path / 'many').glob('*.safetensors'))) > 4
  state = {TABLE.written(k): v for k, v in model.state_dict().items()}
  imported = hf.read(tmp_path / 'one')
  dtypes = sidecar.read(tmp_path / 'one').dtypes
  assert imported.facts.architecture.size.language.tied == tied
  flat = param_paths.flatten(imported.params)
  for name, home in TABLE.homes(imported.facts.architecture.size).items():
    ours = flat[home.path]
    assert str(ours.dtype) == dtype
    ours = np.asarray(ours if home.layer is None else ours[home.layer])
    np.testing.assert_array_equal(
      home.to_theirs(ours.astype(np.float32)), state[name].float(), name
    )
  for kind in ('one', 'many'):
    for spelling in llava_weights.SPELLINGS:
      folder = tmp_path / kind / spelling
      shutil.copytree(
        tmp_path / kind,
        folder,
        ignore=lambda d, f: [x for x in f if x in llava_weights.SPELLINGS],
      )
      llava_weights.rename(
        folder, lambda n, s=spelling: llava_weights.respell(n, s)
      )
      again = hf.read(folder)
      checkpoints.equal(again.params, imported.params)
      assert again.facts == imported.facts
      assert sidecar.read(folder).dtypes == dtypes


def test_a_tied_head_that_is_written(tmp_path, checkpoint):
  """A copy stays a copy, also of what is trained; another head is untied."""
  head, embedding = TABLE.head, TABLE.embedding
  src = checkpoints.copy(checkpoint, tmp_path / 'src')
  checkpoints.change(src, lambda t: t.update({head: t[embedding].clone()}))
  imported = hf.read(src)
  assert (
    imported.facts.architecture.size.language.tied
    and 'head' not in imported.params['llm']
  )
  imported.params['llm']['embedding'] += 1
  hf.write(tmp_path / 'out', imported)
  out = checkpoints.tensors_of(tmp_path / 'out')
  assert out.keys() == checkpoints.tensors_of(src).keys()
  assert out[head] == out[embedding] != checkpoints.tensors_of(src)[embedding]
  checkpoints.loads(tmp_path / 'out')
  checkpoints.change(src, lambda t: t.update({head: t[head] + 1}))
  imported = hf.read(src)
  assert not imported.facts.architecture.size.language.tied
  np.testing.assert_array_equal(
    imported.params['llm']['head'], imported.params['llm']['embedding'].T + 1
  )


def test_the_embedding_has_the_last_word_on_the_vocabulary(
  tmp_path, checkpoint
):
  src = checkpoints.copy(checkpoint, tmp_path / 'src')
  checkpoints.change(
    src, lambda t: t.update({TABLE.embedding: t[TABLE.embedding][:157].clone()})
  )
  assert hf.read(src).facts.architecture.size.language.vocabulary == 157


def lose(tensors):
  del tensors['multi_modal_projector.linear_1.bias']
  del tensors['language_model.model.layers.2.mlp.up_proj.weight']
  tensors['vision_tower.encoder.layers.2.mlp.fc1.bias'] = torch.ones(36)
  tensors['language_model.model.layers.0.self_attn.q_norm.weight'] = torch.ones(
    1
  )
  tensors['image_newline'] = torch.ones(31)


def test_all_that_does_not_fit_is_one_error(tmp_path, checkpoint):
  src = checkpoints.copy(checkpoint, tmp_path / 'src')
  checkpoints.change(src, lose)
  with pytest.raises(ValueError) as e:
    folders.import_(src, tmp_path / 'out')
  _, without, homeless, shape = str(e.value).split('; ')
  assert without == (
    'parameters without a tensor: multi_modal_projector.linear_1.bias, '
    'language_model.model.layers.2.mlp.up_proj.weight'
  )
  assert homeless.startswith('tensors without a parameter: ')
  assert set(homeless.split(': ')[1].split(', ')) == {
    'vision_tower.encoder.layers.2.mlp.fc1.bias',
    'language_model.model.layers.0.self_attn.q_norm.weight',
  }
  assert shape == ('tensors of another shape: image_newline (31,), not (32,)')
  assert not (tmp_path / 'out').exists()


def double(tensors):
  tensors['model.image_newline'] = tensors['image_newline'].clone()


def halve(tensors):
  for name in list(tensors):
    if '.layers.' in name:
      del tensors[name]


@pytest.mark.parametrize(
  'act,why',
  [
    (double, 'has image_newline twice'),
    (halve, r'layers\.0\.layer_norm1\.weight, .* and \d+ more'),
    (lambda t: t.pop(TABLE.embedding), 'without a tensor: .*embed_tokens'),
  ],
)
def test_tensors_that_do_not_fit(tmp_path, checkpoint, act, why):
  src = checkpoints.copy(checkpoint, tmp_path / 'src')
  checkpoints.change(src, act)
  with pytest.raises(ValueError, match=why):
    hf.read(src)


def test_an_untied_checkpoint_without_its_head(tmp_path):
  llava_weights.make(tmp_path, tied=False)
  checkpoints.change(tmp_path, lambda t: t.pop(TABLE.head))
  with pytest.raises(ValueError, match=f'without a tensor: {TABLE.head}'):
    hf.read(tmp_path)


def test_dtypes(tmp_path):
  """The tensors' own, the widest of a stack, or what is asked for."""
  src = tmp_path / 'src'
  llava.write(src, dtype='bfloat16')

  def act(t):
    name = 'language_model.model.layers.{}.mlp.up_proj.weight'
    t[name.format(1)] = t[name.format(1)].half()
    t[name.format(2)] = t[name.format(2)].float() * 1.0001

  checkpoints.change(src, act)
  folders.import_(src, tmp_path / 'a')
  checkpoints.equal(load.load(tmp_path / 'a').params, hf.read(src).params)
  imported = param_paths.flatten(hf.read(src).params)
  assert {p for p, x in imported.items() if x.dtype != jnp.bfloat16} == {
    'llm/layers/mlp/up'
  }
  assert imported['llm/layers/mlp/up'].dtype == jnp.float32
  for wide in (
    hf.read(src, dtype='float32'),
    load.load(tmp_path / 'a', dtype='float32'),
  ):
    for path, x in param_paths.flatten(wide.params).items():
      assert x.dtype == jnp.float32
      np.testing.assert_array_equal(x, imported[path].astype(jnp.float32))


@pytest.mark.parametrize(
  'layer,text,tied',
  [
    (-1, {}, True),
    (
      -2,
      dict(rope_parameters=dict(rope_theta=1e4, rope_type='default')),
      False,
    ),
    (-1, dict(model_type='llama'), False),
  ],
)
def test_the_base_is_their_model(tmp_path, layer, text, tied):
  """Logits of a text with an image; layers that do not run are kept."""
  theirs = llava_weights.make(
    tmp_path,
    tied=tied,
    vision_feature_layer=layer,
    text=text,
    vision=dict(num_hidden_layers=3),
  )
  imported = hf.read(tmp_path)
  assert imported.facts.architecture.size.vision.depth == 4 + layer
  past = {n for n in sidecar.read(tmp_path).unused if 'layers.2.' in n}
  assert len(past) == (16 if layer == -2 else 0)
  side, generator = llava_weights.SIDE, np.random.default_rng(0)
  tiles = generator.integers(0, 256, (2, side, side, 3), np.uint8)
  before, after = [5, 9, 2], [7, 150, 11, 4]
  # The base view, then the one tile, a newline behind each of its rows.
  newline = 18
  source = [
    *range(9),
    *(
      x for r in range(3) for x in (9 + 3 * r, 10 + 3 * r, 11 + 3 * r, newline)
    ),
  ]
  model = visor.Visor(imported.facts.architecture)
  ask = jax.jit(
    lambda tiles: model.apply(
      {'params': imported.params},
      checkpoints.row(before + after, len(before), tiles, source),
      None,
    )[0]
  )
  ours = ask(tiles)
  ids = (
    before + [llava_weights.TOKENS['image_token_index']] * len(source) + after
  )
  pixels = torch.from_numpy(tiles / np.float32(127.5) - 1).permute(0, 3, 1, 2)
  with torch.no_grad():
    logits = (
      theirs(
        torch.tensor([ids]),
        pixel_values=pixels[None],
        image_sizes=torch.tensor([[side, side]]),
      )
      .logits[0]
      .numpy()
    )
  logits = np.concatenate([logits[:3], logits[-4:]])
  assert np.abs(logits).max() > 1
  np.testing.assert_allclose(ours, logits, rtol=1e-4, atol=1e-4)
  moved = ask(np.roll(tiles, 1, 0))  # and the image is looked at
  assert np.abs(moved - ours)[3:].max() > 1e-2
  hf.write(tmp_path / 'out', imported)
  assert checkpoints.tensors_of(tmp_path / 'out') == checkpoints.tensors_of(
    tmp_path
  )


def test_layers_of_visor_are_those_of_the_network(tmp_path, checkpoint):
  """Cross layers are named by their place in the decoder."""
  imported = checkpoints.with_visor(hf.read(checkpoint[0]))
  hf.write(tmp_path / 'a', imported)
  config = json.loads((tmp_path / 'a' / 'config.json').read_text())
  layout = plans.visor(3, cross=(1,), self_=(2,))
  config['visor']['architecture']['layout']['kinds'] = layout.kinds
  (tmp_path / 'a' / 'config.json').write_text(json.dumps(config))
  with pytest.raises(ValueError, match=r'of layers \[0, 1\]; CROSS .* \[1\]'):
    hf.read(tmp_path / 'a')
  del config['visor']
  (tmp_path / 'a' / 'config.json').write_text(json.dumps(config))
  with pytest.raises(ValueError, match='no entry "visor"'):
    hf.read(tmp_path / 'a')
  config['visor'] = dict(format=99)
  (tmp_path / 'a' / 'config.json').write_text(json.dumps(config))
  with pytest.raises(ValueError, match='is of format 99'):
    hf.read(tmp_path / 'a')


def test_parameters_that_cannot_go_out(tmp_path, checkpoint):
  imported = hf.read(checkpoint[0])
  with pytest.raises(ValueError, match='has no hf/'):
    hf.write(tmp_path / 'a', dataclasses.replace(imported, processor=None))
  short = dict(imported.params, connector=dict(imported.params['connector']))
  short['connector']['newline'] = short['connector']['newline'][:3]
  with pytest.raises(ValueError, match=r'connector/newline \(3,\), not \(32,'):
    hf.write(tmp_path / 'a', dataclasses.replace(imported, params=short))
  folder_lib.save(tmp_path / 'b', imported.params, imported.facts)
  with pytest.raises(ValueError, match='has no hf/'):
    folders.export(tmp_path / 'b', tmp_path / 'a')
  assert not (tmp_path / 'a').exists()

"""Checkpoints of transformers in, out, and asked the same as ours."""

import json
import pathlib
import shutil
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
import transformers

from tests import llava_weights
from visor_jax.checkpoint import facts as facts_lib
from visor_jax.checkpoint import folder as folder_lib
from visor_jax.checkpoint import load
from visor_jax.convert import __main__ as door
from visor_jax.convert import config as config_lib
from visor_jax.convert import folders
from visor_jax.convert import hf
from visor_jax.convert import names
from visor_jax.convert import reader
from visor_jax.convert import safetensors
from visor_jax.convert import visor_tensors
from visor_jax.models import visor
from visor_jax.runtime import mesh as mesh_lib
from visor_jax.runtime import param_paths
from visor_jax.spec import architecture
from visor_jax.spec import batch as batch_lib
from visor_jax.spec import plan as plans
from visor_jax.spec import sizes

FILES = {  # what a folder may have that is nobody's business but transformers'
  'tokenizer.json': b'{"any":  "bytes\xc3\xa9"}',
  'merges.txt': b'a b\r\n',
  'chat_template.jinja': b'{{ x }}',
  'LICENSE': b'free',
}


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
  """(folder, torch model) of a tied float32 checkpoint; not to be changed."""
  folder = tmp_path_factory.mktemp('fourth')
  return folder, llava_weights.make(folder)


def tensors_of(folder):
  """{name: (dtype, shape, bytes)}, read by the package, names as they are."""
  found = {}
  for path in sorted(pathlib.Path(folder).glob('model*.safetensors')):
    for name, t in llava_weights.safetensors.load_file(path).items():
      found[name] = (
        t.dtype,
        tuple(t.shape),
        t.contiguous().view(-1).view(torch.uint8).numpy().tobytes(),
      )
  return found


def change(folder, act):
  """Rewrites the one file of a checkpoint: act changes {name: tensor}."""
  path = folder / safetensors.SINGLE
  found = llava_weights.safetensors.load_file(path)
  act(found)
  llava_weights.safetensors.save_file(found, path, {'format': 'pt'})


def copy(checkpoint, folder):
  shutil.copytree(checkpoint[0], folder)
  return folder


def equal(a, b):
  a, b = param_paths.flatten(a), param_paths.flatten(b)
  assert a.keys() == b.keys()
  for path in a:
    assert a[path].dtype == b[path].dtype, path
    np.testing.assert_array_equal(a[path], b[path], err_msg=path)


def loads(folder, **kwargs):
  """The model as transformers loads it, with nothing missing or left over."""
  model, said = (
    transformers.LlavaOnevisionForConditionalGeneration.from_pretrained(
      folder, output_loading_info=True, **kwargs
    )
  )
  assert not any(said.values()), said
  return model.eval()


@pytest.mark.parametrize('tied', [True, False])
@pytest.mark.parametrize('dtype', ['bfloat16', 'float16', 'float32'])
def test_four_spellings_in_one_file_or_many(tmp_path, dtype, tied):
  """All give the parameters that the torch model has."""
  model = llava_weights.make(tmp_path / 'one', dtype=dtype, tied=tied)
  llava_weights.make(tmp_path / 'many', dtype=dtype, tied=tied, shards=True)
  assert len(list((tmp_path / 'many').glob('*.safetensors'))) > 4
  state = {names.written(k): v for k, v in model.state_dict().items()}
  found = hf.read(tmp_path / 'one')
  assert found.size.language.tied == tied
  flat = param_paths.flatten(found.params)
  for name, home in names.homes(found.size).items():
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
      equal(again.params, found.params)
      assert again.facts == found.facts
      assert again.sidecar.dtypes == found.sidecar.dtypes


@pytest.mark.parametrize('spelling', ['original', 'fourth'])
@pytest.mark.parametrize(
  'dtype,tied,shards',
  [
    ('bfloat16', True, False),
    ('float16', False, True),
    ('float32', True, True),
    ('mixed', False, False),
  ],
)
def test_an_export_is_what_was_imported(
  tmp_path, dtype, tied, shards, spelling
):
  """Every tensor to the byte, used or not, and every other file."""
  src = tmp_path / 'src'
  kind = 'float32' if dtype == 'mixed' else dtype
  llava_weights.make(src, dtype=kind, tied=tied, shards=shards)
  if dtype == 'mixed':

    def mix(found):
      kinds = (torch.bfloat16, torch.float16, torch.float32)
      for i, name in enumerate(sorted(found)):
        found[name] = found[name].to(kinds[i % 3])
      for where in (
        'vision_tower.embeddings.position_ids',
        'language_model.model.layers.1.self_attn.rotary_emb.inv_freq',
      ):  # buffers that older versions wrote
        found[where] = torch.arange(5)

    change(src, mix)
  expected = tensors_of(src)
  llava_weights.rename(src, lambda n: llava_weights.respell(n, spelling))
  for name, text in FILES.items():
    (src / name).write_bytes(text)
  folders.import_(src, tmp_path / 'checkpoint')
  shutil.move(src, tmp_path / 'gone')  # nothing is asked of it any more
  folders.export(tmp_path / 'checkpoint', tmp_path / 'out')
  assert tensors_of(tmp_path / 'out') == expected
  assert any('post_layernorm' in name for name in expected)
  files = {p.name for p in (tmp_path / 'gone').iterdir()}
  weights = {n for n in files if 'safetensors' in n}
  for name in files - weights:
    assert (tmp_path / 'out' / name).read_bytes() == (
      tmp_path / 'gone' / name
    ).read_bytes(), name
  assert {p.name for p in (tmp_path / 'out').iterdir()} == (
    files - weights | {safetensors.SINGLE}
  )


@pytest.mark.parametrize('spelling', llava_weights.SPELLINGS)
def test_transformers_loads_an_export(tmp_path, spelling):
  model = llava_weights.make(tmp_path / 'src', spelling, tied=False)
  folders.import_(tmp_path / 'src', tmp_path / 'checkpoint')
  folders.export(tmp_path / 'checkpoint', tmp_path / 'out')
  state = loads(tmp_path / 'out').state_dict()
  for name, tensor in model.state_dict().items():
    assert torch.equal(state[name], tensor), name


def test_old_buffers_do_not_bother_transformers(tmp_path, checkpoint):
  def old(found):
    found['vision_tower.embeddings.position_ids'] = torch.arange(9)[None]
    found['language_model.model.layers.0.self_attn.rotary_emb.inv_freq'] = (
      torch.ones(6)
    )

  src = copy(checkpoint, tmp_path / 'src')
  change(src, old)
  folders.import_(src, tmp_path / 'checkpoint')
  folders.export(tmp_path / 'checkpoint', tmp_path / 'out')
  assert tensors_of(tmp_path / 'out') == tensors_of(src)
  loads(tmp_path / 'out')


def test_an_original_with_a_flat_config(tmp_path, monkeypatch):
  """It is exported with a config that transformers knows."""
  monkeypatch.setitem(
    config_lib.TOWERS, 'tiny', dict(llava_weights.VISION, vision_use_head=True)
  )
  text = dict(llava_weights.TEXT)
  text.pop('rope_parameters')
  model = llava_weights.make(tmp_path / 'src', 'original')
  (tmp_path / 'src' / 'config.json').write_text(
    json.dumps(
      dict(
        text,
        architectures=['LlavaQwenForCausalLM'],
        model_type='llava',
        rope_theta=50000.0,
        tie_word_embeddings=True,
        vocab_size=999,
        image_aspect_ratio='anyres_max_9',
        image_grid_pinpoints='(1x1),(6x6)',
        mm_vision_tower='google/tiny',
        mm_projector_type='mlp2x_gelu',
        mm_patch_merge_type='spatial_unpad',
        mm_vision_select_layer=-2,
      )
    )
  )
  folders.import_(tmp_path / 'src', tmp_path / 'checkpoint')
  folders.export(tmp_path / 'checkpoint', tmp_path / 'out')
  again = loads(tmp_path / 'out')
  ids = torch.tensor([[3, 1, 4, 1, 5]])
  assert torch.equal(again(ids).logits, model(ids).logits)
  assert (
    hf.read(tmp_path / 'out').size
    == load.load(tmp_path / 'checkpoint').size
  )


def test_a_tied_head_that_is_written(tmp_path, checkpoint):
  """A copy stays a copy, also of what is trained; another head is untied."""
  head, embedding = names.HEAD, names.EMBEDDING
  src = copy(checkpoint, tmp_path / 'src')
  change(src, lambda t: t.update({head: t[embedding].clone()}))
  found = hf.read(src)
  assert found.size.language.tied and 'head' not in found.params['llm']
  found.params['llm']['embedding'] += 1
  hf.write(tmp_path / 'out', found.params, found.facts, found.sidecar)
  out = tensors_of(tmp_path / 'out')
  assert out.keys() == tensors_of(src).keys()
  assert out[head] == out[embedding] != tensors_of(src)[embedding]
  loads(tmp_path / 'out')
  change(src, lambda t: t.update({head: t[head] + 1}))
  found = hf.read(src)
  assert not found.size.language.tied
  np.testing.assert_array_equal(
    found.params['llm']['head'], found.params['llm']['embedding'].T + 1
  )


def test_the_embedding_has_the_last_word_on_the_vocabulary(
  tmp_path, checkpoint
):
  src = copy(checkpoint, tmp_path / 'src')
  change(
    src, lambda t: t.update({names.EMBEDDING: t[names.EMBEDDING][:157].clone()})
  )
  assert hf.read(src).size.language.vocabulary == 157


def lose(found):
  del found['multi_modal_projector.linear_1.bias']
  del found['language_model.model.layers.2.mlp.up_proj.weight']
  found['vision_tower.encoder.layers.2.mlp.fc1.bias'] = torch.ones(36)
  found['language_model.model.layers.0.self_attn.q_norm.weight'] = torch.ones(1)
  found['image_newline'] = torch.ones(31)


def test_all_that_does_not_fit_is_one_error(tmp_path, checkpoint):
  src = copy(checkpoint, tmp_path / 'src')
  change(src, lose)
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


def double(found):
  found['model.image_newline'] = found['image_newline'].clone()


def halve(found):
  for name in list(found):
    if '.layers.' in name:
      del found[name]


@pytest.mark.parametrize(
  'act,why',
  [
    (double, 'has image_newline twice'),
    (halve, r'layers\.0\.layer_norm1\.weight, .* and \d+ more'),
    (lambda t: t.pop(names.EMBEDDING), 'without a tensor: .*embed_tokens'),
  ],
)
def test_tensors_that_do_not_fit(tmp_path, checkpoint, act, why):
  src = copy(checkpoint, tmp_path / 'src')
  change(src, act)
  with pytest.raises(ValueError, match=why):
    hf.read(src)


def test_an_untied_checkpoint_without_its_head(tmp_path):
  llava_weights.make(tmp_path, tied=False)
  change(tmp_path, lambda t: t.pop(names.HEAD))
  with pytest.raises(ValueError, match=f'without a tensor: {names.HEAD}'):
    hf.read(tmp_path)


def run(*args, capsys):
  code = door.main([*map(str, args)])
  said = capsys.readouterr()
  return code, said.out, said.err


def test_the_command(tmp_path, checkpoint, capsys):
  """In and out; an error is one line and exit code 1."""
  do = lambda *args: run(*args, capsys=capsys)
  there, out, new = (tmp_path / name for name in 'abc')
  code, said, _ = do('import', '--src', checkpoint[0], '--out', there)
  assert code == 0 and f'wrote {there}' in said
  assert do('export', '--src', there, '--out', out)[0] == 0
  assert tensors_of(out) == tensors_of(checkpoint[0])
  (tmp_path / 'empty').mkdir()
  cut = copy(checkpoint, tmp_path / 'cut')
  file = cut / safetensors.SINGLE
  file.write_bytes(file.read_bytes()[:-10])
  other = copy(checkpoint, tmp_path / 'other')
  config = json.loads((other / 'config.json').read_text())
  (other / 'config.json').write_text(
    json.dumps(config | dict(model_type='llava_next'))
  )
  for why, *args in (
    ('is there already', 'import', checkpoint[0], out),
    ('is cut off: 10 of', 'import', cut, new),
    ("model_type 'llava_next'", 'import', other, new),
    ('neither a folder nor a name', 'import', tmp_path / 'no', new),
    ('config.json is missing', 'export', tmp_path / 'empty', new),
  ):
    code, _, said = do(args[0], '--src', args[1], '--out', args[2])
    assert code == 1 and why in said and said.count('\n') == 1, said
    assert said.startswith('error: ')
  with pytest.raises(SystemExit):
    do('--help')


def test_an_import_that_was_cut_off_is_not_used(tmp_path, checkpoint):
  folders.import_(checkpoint[0], tmp_path / 'a')
  (tmp_path / 'a' / folder_lib.FACTS).unlink()
  with pytest.raises(ValueError, match='wrote to the end'):
    load.load(tmp_path / 'a')


def test_the_hub(tmp_path, checkpoint, monkeypatch):
  """A name is downloaded, without what other libraries need."""
  import huggingface_hub

  asked = []

  def download(name, allow_patterns):
    asked.append((name, allow_patterns))
    return str(checkpoint[0])

  monkeypatch.setattr(huggingface_hub, 'snapshot_download', download)
  found = hf.read('llava-hf/some-model')
  equal(found.params, hf.read(checkpoint[0]).params)
  ((name, patterns),) = asked
  assert name == 'llava-hf/some-model'
  assert '*.safetensors' in patterns and '*.json' in patterns
  assert not any('bin' in p for p in patterns)
  monkeypatch.setattr(
    huggingface_hub, 'snapshot_download', lambda *a, **k: 1 / 0
  )
  with pytest.raises(ValueError, match='could not be had from the hub: div'):
    hf.read('llava-hf/some-model')
  monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
  with pytest.raises(ValueError, match='pip install huggingface_hub'):
    hf.read('llava-hf/some-model')


def test_dtypes(tmp_path):
  """The tensors' own, the widest of a stack, or what is asked for."""
  src = tmp_path / 'src'
  llava_weights.make(src, dtype='bfloat16')

  def act(t):
    name = 'language_model.model.layers.{}.mlp.up_proj.weight'
    t[name.format(1)] = t[name.format(1)].half()
    t[name.format(2)] = t[name.format(2)].float() * 1.0001

  change(src, act)
  folders.import_(src, tmp_path / 'a')
  equal(load.load(tmp_path / 'a').params, hf.read(src).params)
  found = param_paths.flatten(hf.read(src).params)
  assert {p for p, x in found.items() if x.dtype != jnp.bfloat16} == {
    'llm/layers/mlp/up'
  }
  assert found['llm/layers/mlp/up'].dtype == jnp.float32
  for wide in (
    hf.read(src, dtype='float32'),
    load.load(tmp_path / 'a', dtype='float32'),
  ):
    for path, x in param_paths.flatten(wide.params).items():
      assert x.dtype == jnp.float32
      np.testing.assert_array_equal(x, found[path].astype(jnp.float32))


def test_shardings(tmp_path, checkpoint):
  """Parameters arrive spread over the devices, from both kinds of folder."""
  mesh = mesh_lib.make(data=2, fsdp=4)
  found = hf.read(checkpoint[0])
  spec = lambda x: jax.sharding.NamedSharding(
    mesh,
    jax.sharding.PartitionSpec(
      *['fsdp' if n % 4 == 0 else None for n in x.shape[-1:]]
      if x.ndim == 1
      else [None] * (x.ndim - 1) + ['fsdp' if x.shape[-1] % 4 == 0 else None]
    ),
  )
  where = jax.tree.map(spec, found.params)
  folders.import_(checkpoint[0], tmp_path / 'a')
  extra = where | {'router': {'token': None}}  # the model has more
  for again in (
    hf.read(checkpoint[0], extra),
    load.load(tmp_path / 'a', extra),
    reader.read(tmp_path / 'a', extra, 'float32'),
  ):
    equal(again.params, found.params)
    jax.tree.map(
      lambda x, s: (
        x.sharding.is_equivalent_to(s, x.ndim) or pytest.fail(str(x.sharding))
      ),
      again.params,
      where,
    )
  shards = again.params['llm']['embedding'].addressable_shards
  assert shards[0].data.shape == (160, 8)
  del where['connector']
  with pytest.raises(ValueError, match='the checkpoint has connector/'):
    hf.read(checkpoint[0], where)


def row(tokens, image_at, tiles, source):
  """A Batch of one row: text, visual tokens before token `image_at`, text."""
  n, v = len(tokens), len(source)
  int32 = lambda x: np.array(x, np.int32)[None]
  place = np.arange(n)
  place[image_at:] += v
  return batch_lib.Batch(
    int32(tokens),
    int32([1] * n),
    int32(place),
    np.zeros((1, n), bool),
    int32([1] * v),
    int32(np.arange(v) + image_at),
    tiles[None],
    int32(source)[..., None],
    np.ones((1, v, 1), np.float32),
    int32([1]),
    int32([n - 1]),
  )


@pytest.mark.parametrize(
  'layer,text,tied',
  [
    (-1, {}, True),
    (
      -2,
      dict(rope_parameters=dict(rope_theta=1e4, rope_type='default')),
      False,
    ),
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
  found = hf.read(tmp_path)
  assert found.size.vision.depth == 4 + layer
  past = {n for n in found.sidecar.unused if 'layers.2.' in n}
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
  model = visor.Visor(found.facts.architecture)
  ask = jax.jit(
    lambda tiles: model.apply(
      {'params': found.params},
      row(before + after, len(before), tiles, source),
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


def with_visor(found):
  """The checkpoint with trained VISOR weights, all random."""
  facts = facts_lib.Facts(
    architecture.Architecture(
      found.size,
      plans.visor(3, cross=(0, 1), self_=(2,)),
      architecture.CrossOptions(conv=True),
      architecture.RouterOptions(hidden=6, plans=2),
    ),
    ((False,), (True,)),
    0.75,
    ('cross', 'router'),
  )
  model = visor.Visor(facts.architecture)
  batch = row([1, 2, 3], 1, np.zeros((1, 20, 20, 3), np.uint8), [0, 1])
  generator = np.random.default_rng(0)
  made = jax.tree.map(
    lambda x: jnp.asarray(generator.standard_normal(x.shape, np.float32)),
    param_paths.flatten(
      jax.eval_shape(
        lambda: jax.tree.map(
          lambda x: x.unbox(),
          model.init(jax.random.key(0), batch, method='init_all')['params'],
          is_leaf=lambda x: hasattr(x, 'unbox'),
        )
      )
    ),
  )
  base = param_paths.flatten(found.params)
  assert len(made) > len(base) + 12
  params = param_paths.unflatten(made | base)
  return folder_lib.Imported(params, facts, found.sidecar)


def test_visor_weights_go_out_and_come_back(tmp_path, checkpoint):
  """By way of a checkpoint folder; transformers sees the base alone."""
  found = with_visor(hf.read(checkpoint[0]))
  folder_lib.save(tmp_path / 'a', found.params, found.facts, found.sidecar)
  loaded = load.load(tmp_path / 'a')
  equal(loaded.params, found.params)
  assert loaded.facts == found.facts
  folders.export(tmp_path / 'a', tmp_path / 'b')
  assert tensors_of(tmp_path / 'b') == tensors_of(checkpoint[0])
  ids = torch.tensor([[3, 1, 4]])
  assert torch.equal(
    loads(tmp_path / 'b')(ids).logits, checkpoint[1](ids).logits
  )
  written = safetensors.file(tmp_path / 'b' / visor_tensors.FILE)
  np.testing.assert_array_equal(
    written['visor.cross.1.text_norm.scale'].read(),
    found.params['llm']['cross']['text_norm']['scale'][1],
  )
  np.testing.assert_array_equal(
    written['visor.router.norm.scale'].read(),
    found.params['router']['norm']['scale'],
  )
  folders.import_(tmp_path / 'b', tmp_path / 'c')
  again = load.load(tmp_path / 'c')
  equal(again.params, found.params)
  assert again.facts == found.facts
  folders.export(tmp_path / 'c', tmp_path / 'd')
  for path in (tmp_path / 'b').iterdir():
    assert (tmp_path / 'd' / path.name).read_bytes() == path.read_bytes(), path


def test_layers_of_visor_are_those_of_the_network(tmp_path, checkpoint):
  """Cross layers are named by their place in the decoder."""
  found = with_visor(hf.read(checkpoint[0]))
  hf.write(tmp_path / 'a', found.params, found.facts, found.sidecar)
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


def test_what_was_trained_goes_out_in_the_tensors_dtype(tmp_path):
  """Float32 masters are rounded to the nearest, once."""
  llava_weights.make(tmp_path / 'src', dtype='bfloat16')
  found = hf.read(tmp_path / 'src', dtype='float32')
  params = jax.tree.map(lambda x: x * 1.01, found.params)
  folder_lib.save(tmp_path / 'a', params, found.facts, found.sidecar)
  assert (
    load.load(tmp_path / 'a').params['llm']['embedding'].dtype
    == jnp.float32
  )
  folders.export(tmp_path / 'a', tmp_path / 'b')
  before, after = tensors_of(tmp_path / 'src'), tensors_of(tmp_path / 'b')
  assert before.keys() == after.keys()
  for name, (dtype, shape, bytes_) in before.items():
    assert after[name][:2] == (dtype, shape)
    assert (after[name][2] == bytes_) == (name in found.sidecar.unused)
  np.testing.assert_array_equal(
    np.frombuffer(after['image_newline'][2], ml_dtypes.bfloat16),
    np.asarray(params['connector']['newline'].astype(jnp.bfloat16)),
  )


def test_parameters_that_cannot_go_out(tmp_path, checkpoint):
  found = hf.read(checkpoint[0])
  with pytest.raises(ValueError, match='has no hf/'):
    hf.write(tmp_path / 'a', found.params, found.facts, None)
  short = dict(found.params, connector=dict(found.params['connector']))
  short['connector']['newline'] = short['connector']['newline'][:3]
  with pytest.raises(ValueError, match=r'connector/newline \(3,\), not \(32,'):
    hf.write(tmp_path / 'a', short, found.facts, found.sidecar)
  folder_lib.save(tmp_path / 'b', found.params, found.facts)
  with pytest.raises(ValueError, match='has no hf/'):
    folders.export(tmp_path / 'b', tmp_path / 'a')
  assert not (tmp_path / 'a').exists()


def large(folder, size):
  """A random bf16 checkpoint, one tensor in memory at a time."""
  block = (
    np.random.default_rng(0)
    .standard_normal(2**20, np.float32)
    .astype(ml_dtypes.bfloat16)
  )
  folder.mkdir()
  language, vision = size.language, size.vision
  (folder / 'config.json').write_text(
    json.dumps(
      dict(
        model_type='llava_onevision',
        text_config=dict(
          model_type='qwen2',
          hidden_size=language.width,
          intermediate_size=language.mlp,
          num_hidden_layers=language.depth,
          num_attention_heads=language.heads,
          rope_theta=language.rope_theta,
          num_key_value_heads=language.key_heads,
          vocab_size=152000,
          tie_word_embeddings=language.tied,
        ),
      )
    )
  )
  safetensors.write_folder(
    folder,
    {
      name: safetensors.Tensor(
        home.shape, block.dtype, lambda s=home.shape: np.resize(block, s)
      )
      for name, home in names.homes(size).items()
    },
  )
  assert vision == sizes.Vision()


@pytest.mark.drill
def test_half_a_billion_parameters(tmp_path):
  """In under a minute and one and a half times its bytes, there and back."""
  large(tmp_path / 'src', sizes.get('0.5b'))
  size = (tmp_path / 'src' / safetensors.SINGLE).stat().st_size
  code = (
    'import resource, sys; from visor_jax.convert import __main__ as m; '
    'rc = m.main(sys.argv[1:]); print("peak", resource.getrusage('
    'resource.RUSAGE_SELF).ru_maxrss * 1024); sys.exit(rc)'
  )
  for act, src, out in (('import', 'src', 'a'), ('export', 'a', 'b')):
    start = time.monotonic()
    done = subprocess.run(
      [
        sys.executable,
        '-c',
        code,
        act,
        '--src',
        tmp_path / src,
        '--out',
        tmp_path / out,
      ],
      capture_output=True,
      text=True,
    )
    took = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout.split()[-1])
    print(
      f'{act}: {size / 1e9:.2f} GB in {took:.1f} s, peak '
      f'{peak / size:.2f} times\n{done.stdout}'
    )
    assert took < 60
    assert peak < 1.5 * size
  before = safetensors.folder(tmp_path / 'src')
  after = safetensors.folder(tmp_path / 'b')
  assert before.keys() == after.keys()
  for name, t in before.items():
    assert t.read().tobytes() == after[name].read().tobytes(), name
  shutil.rmtree(tmp_path)

